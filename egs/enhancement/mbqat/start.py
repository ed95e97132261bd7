#!/usr/bin/env python3
"""Starts a program of these folders: start.py model.py|quantize.py FOLDER [options]."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RECIPE = f'. "{ROOT}/path.sh" && exec python3 -m kaldi_quant.cli.recipes "$@"'
program, folder, *options = sys.argv[1:]

os.environ["KALDI_QUANT_EXTRAS"] = f"{os.environ.get('KALDI_QUANT_EXTRAS', '')} enhancement"
os.execvp("bash", ["bash", "-c", RECIPE, program, f"egs/enhancement/mbqat/{program}", "--folder", folder, *options])
