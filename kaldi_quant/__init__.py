"""kaldi_quant: makes the acoustic model of a Kaldi recogniser smaller and faster without losing words.

Also for networks of ``torch.nn``:

    import kaldi_quant as kq

    quantized = kq.quantize(network, "w4a8", calibration=inputs)
    print(kq.compare(quantized, other_inputs))
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

#: Where each public name is; imported when it is asked for, so that this package is quick to import.
_PUBLIC = {
    "load": "files",
    "save": "files",
    "export": "files",
    "quantize": "quantization",
    "quantize_further": "quantization",
    "compare": "quantization",
    "compile": "quantization",
    "called_with": "quantization",
    "part_of": "quantization",
    "sensitivity": "quantization",
    "search": "search",
    "FoundWidths": "search",
    "finetune": "finetuning",
    "qat": "training",
    "Quantized": "quantization",
    "KaldiNetwork": "networks",
    "TorchNetwork": "networks",
}
__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604 - these are strings


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.api.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
