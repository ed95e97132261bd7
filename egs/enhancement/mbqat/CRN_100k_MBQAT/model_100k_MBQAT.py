#!/usr/bin/env python3
"""Trains and tests the network of CRN_100k_MBQAT, and cleans files with it. --help lists the options."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.execv(sys.executable, [sys.executable, str(HERE.parent / "start.py"), "model.py", str(HERE), *sys.argv[1:]])
