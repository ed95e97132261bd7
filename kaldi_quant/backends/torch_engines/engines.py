"""The engines, which are PyTorch's collections of integer kernels: which this machine has, and which is in use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

import torch

from kaldi_quant.errors import UsageError

#: In the order of preference (``benchmarks/torch_engines.py``). For matrix products x86 is fbgemm under another name.
Engine = Literal["onednn", "x86", "fbgemm", "qnnpack"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


def supported_engines() -> tuple[Engine, ...]:
    """Those that this build of PyTorch has for this machine."""
    return tuple(engine for engine in ENGINES if engine in torch.backends.quantized.supported_engines)


def engine_named(name: str = "auto") -> Engine:
    """An engine by name; ``auto`` is the first that the machine has.

    Raises:
        UsageError: there is none of that name, or this machine lacks it.
    """
    supported = supported_engines()
    if name == "auto" and supported:
        return supported[0]
    for engine in supported:
        if engine == name:
            return engine
    there = ", ".join(supported) or "none"
    raise UsageError(f"PyTorch on this machine has no engine {name}; it has {there}")


@contextlib.contextmanager
def engine_in_use(engine: Engine) -> Iterator[None]:
    """PyTorch's operations use an engine within the block."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
