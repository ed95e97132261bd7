"""Schemes of quantization: MBQAT's three beside this project's own; all of them end in integers."""
