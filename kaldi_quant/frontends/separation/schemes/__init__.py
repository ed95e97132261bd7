"""Schemes of quantization: a plain one, FQSS's, and this project's own; all of them end in integers."""
