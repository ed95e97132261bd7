#!/usr/bin/env python3
"""Makes cells of the table of source separation. --help lists the options."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = f'. "{ROOT}/path.sh" && exec python3 -m kaldi_quant.cli.recipes "$@"'

os.environ["KALDI_QUANT_EXTRAS"] = f"{os.environ.get('KALDI_QUANT_EXTRAS', '')} separation"
os.execvp("bash", ["bash", "-c", RECIPE, __file__, f"egs/separation/{Path(__file__).name}", *sys.argv[1:]])
