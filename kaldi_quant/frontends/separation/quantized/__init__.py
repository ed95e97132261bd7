"""Signals as integers of few bits: what reads them, and what gives them, in quantized networks."""
