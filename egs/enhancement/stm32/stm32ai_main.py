#!/usr/bin/env python3
"""Runs the services of the STM32 model zoo for speech enhancement. --help lists the options, README.md the keys."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RECIPE = f'. "{ROOT}/path.sh" && exec python3 -m kaldi_quant.cli.recipes "$@"'

os.environ["KALDI_QUANT_EXTRAS"] = f"{os.environ.get('KALDI_QUANT_EXTRAS', '')} enhancement"
os.execvp("bash", ["bash", "-c", RECIPE, __file__, "egs/enhancement/stm32/stm32ai_main.py", *sys.argv[1:]])
