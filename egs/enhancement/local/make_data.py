#!/usr/bin/env python3
"""Makes the clean speech and the table of egs/enhancement/data again; needs the programs espeak-ng and flite.

e.g.: python3 local/make_data.py --seed 1 data
"""

import argparse
import sys
from pathlib import Path

# The checkout's package goes before one that is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from kaldi_quant.errors import KaldiQuantError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write; files that are there are written over")
    parser.add_argument("--seed", type=int, default=1, help="everything follows from it (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        from kaldi_quant.frontends.enhancement.synthetic.make import make_data

        print(f"SHA-256 of the samples before coding: {make_data(arguments.folder, arguments.seed)}")
    except KaldiQuantError as error:
        sys.exit(f"make_data.py: {error}")


if __name__ == "__main__":
    main()
