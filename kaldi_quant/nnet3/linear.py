"""Matrix products on the fastest float kernel that this machine has.

torch multiplies float matrices with MKL by default, which runs at half of oneDNN's speed on AMD processors; oneDNN is
inside every torch wheel for x86 and ARM. Where gradients flow, or the data is not float32 on a CPU, torch's default is
used. ``benchmarks/forward.py`` prints the ratios.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

FloatBackend = Literal["auto", "torch", "onednn"]
FLOAT_BACKENDS: tuple[FloatBackend, ...] = ("auto", "torch", "onednn")

_BACKEND: ContextVar[FloatBackend] = ContextVar("float backend", default="auto")


@contextlib.contextmanager
def float_backend(name: FloatBackend) -> Iterator[None]:
    """Chooses the kernel for products within the block; ``auto`` is oneDNN wherever it is built in."""
    token = _BACKEND.set(name)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def _uses_onednn(x: Tensor, weight: Tensor) -> bool:
    if _BACKEND.get() == "torch" or not torch.backends.mkldnn.is_available():
        return False
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return plain and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``; x: (..., in), weight: (out, in), bias: (out,) or None, result: (..., out)."""
    if not _uses_onednn(x, weight):
        return functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class PackedWeight(nn.Module):
    """A weight matrix in the layout that the fast kernel reads, made on first use and again after a change.

    Args:
        weight: (out, in) float, the module's parameter.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self._packed: Tensor | None = None
        self._packed_from: tuple[int, int] | None = None

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x @ weight.T + bias``; x: (..., in), result: (..., out)."""
        if not _uses_onednn(x, self.weight):
            return functional.linear(x, self.weight, bias)
        state = (self.weight.data_ptr(), self.weight._version)
        if self._packed is None or self._packed_from != state:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach())
            self._packed_from = state
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, bias, "none", [], "")

    def __getstate__(self) -> dict:
        """The packed copy is not part of the module's state: oneDNN tensors cannot be copied or pickled."""
        return self.__dict__ | {"_packed": None, "_packed_from": None}
