"""The schemes by name."""

from __future__ import annotations

from kaldi_quant.frontends.schemes import Scheme
from kaldi_quant.registry import Registry

#: By name (``known``).
SCHEMES: Registry[Scheme] = Registry("scheme of quantization")
for _name in ("standard-qat", "general-qat", "mbqat", "mbqat-tcn", "ours-w8a8", "ours-w4a8"):
    SCHEMES.declare(_name, "kaldi_quant.frontends.enhancement.schemes.known")
