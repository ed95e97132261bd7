#!/usr/bin/env python3
"""Makes a cell of Wav2Vec2: trained in float, or quantized from there.

e.g.: python3 wav2vec2.py --config conf/wav2vec2_fp32.yaml && python3 wav2vec2.py --config conf/wav2vec2_ptq.yaml
"""

import argparse
import logging
import shlex
import sys

from kaldi_quant.errors import KaldiQuantError


def main() -> int:
    """Parses, makes, and says what was made; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a file of conf/, such as conf/wav2vec2_ptq.yaml")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        from kaldi_quant.frontends.keywords.wav2vec2_cells import make_wav2vec2_cell
        from kaldi_quant.frontends.keywords.wav2vec2_config import read_settings

        command = shlex.join(["python3", *sys.argv])
        print(make_wav2vec2_cell(read_settings(options.config), command))
    except KaldiQuantError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
