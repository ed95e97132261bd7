#!/usr/bin/env python3
"""Fine-tunes the model of a Kaldi recipe with LF-MMI in PyTorch, decodes and scores it.

Stages: 0 lang, 1 lattices, 2 tree, 3 denominator, 4 egs (these by Kaldi's scripts, where KALDI_ROOT is set; what is
there is kept), 5 initial model, 6 training, 7 decoding. --help lists the options.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = f'. "{ROOT}/path.sh" && exec python3 -m kaldi_quant.cli.recipes "$@"'

os.environ["KALDI_QUANT_EXTRAS"] = f"{os.environ.get('KALDI_QUANT_EXTRAS', '')} report"
os.execvp("bash", ["bash", "-c", RECIPE, __file__, Path(__file__).name, *sys.argv[1:]])
