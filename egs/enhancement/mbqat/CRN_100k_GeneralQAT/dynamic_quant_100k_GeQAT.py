#!/usr/bin/env python3
"""Quantizes what was trained here, and tests it. --help lists the options."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.execv(sys.executable, [sys.executable, str(HERE.parent / "start.py"), "quantize.py", str(HERE), *sys.argv[1:]])
