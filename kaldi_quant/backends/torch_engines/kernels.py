"""PyTorch's engines, which are collections of integer kernels: which this machine has, and weights packed for them.

Inputs and results are plain uint8 tensors with a scale and zero point; PyTorch's quantized tensors are made where a
kernel wants them.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import LARGEST_BYTE

#: In the order of preference (``benchmarks/torch_engines.py``). For matrix products x86 is fbgemm under another name.
Engine = Literal["onednn", "x86", "fbgemm", "qnnpack"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


#: The beginnings of the notes, as regular expressions.
_NOTES = (
    r"torch\.ao\.quantization is deprecated",
    r"torch\.quantize_per_tensor, torch\.quantize_per_channel and other quantized tensor creation functions",
    # Of a layer whose own ranges are not asked for, because its input's come from a file.
    r"must run observer before calling calculate_qparams",
    # PyTorch's own default settings for x86.
    r"Please use quant_min and quant_max to specify the range",
    # torchao, when it is imported and used.
    r"`torch\.jit\.script(_method)?` is deprecated",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)

#: Who logs that torchao's GPU kernels do not load, and how torchao registers its types.
_LOGGERS = ("torchao", "torch.utils._pytree")

Quantized = Tensor  # of the type quint8


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


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Holds back exactly these notes within the block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for note in _NOTES:
            warnings.filterwarnings("ignore", message=note)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def as_quantized(integers: Tensor, scale: float, zero_point: int) -> Quantized:
    """uint8 integers as a quantized tensor."""
    return torch._make_per_tensor_quantized_tensor(integers, scale, zero_point)


def integers_of(x: Quantized) -> Tensor:
    """A quantized tensor's uint8 integers, without a copy."""
    plain = torch.empty(0, dtype=torch.uint8)
    return plain.set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())


class Kernel(ABC):
    """A weight ready to be multiplied with 8-bit integers.

    Args:
        weight: of at most 8 bits, its zero point 0.
        bias: (out,) float32.
    """

    def __init__(self, weight: QuantizedWeight, bias: Tensor) -> None:
        if weight.spec.bits > 8 or weight.is_groupwise or bool(weight.zero_point.any()):
            kind = f"{weight.spec.bits} bits" if weight.spec.bits > 8 else "a fitted zero point"
            kind = "scales of groups of columns" if weight.is_groupwise else kind
            raise ModelError(
                f"PyTorch's kernels multiply symmetric weights of at most 8 bits, and a layer's have {kind}: "
                "run the model with --engine reference"
            )
        self.scale = weight.scale[:, 0].contiguous()
        self.integers = weight.integers.to(torch.int8)
        self.bias = bias.contiguous()

    def to_grid(self, x: Tensor, scale: float, zero_point: int, output: Grid, relu: bool) -> Tensor:
        """The product on a grid.

        Args:
            x: (..., in) uint8.
            scale: of x.
            zero_point: of x.
            output: the result's grid, one scale.
            relu: whether negative results become 0.

        Returns:
            (..., out) uint8.
        """
        y = self._to_grid(x, scale, zero_point, output, relu)
        return y.clamp_max_(output.spec.qmax) if output.spec.qmax < LARGEST_BYTE else y

    @abstractmethod
    def _to_grid(self, x: Tensor, scale: float, zero_point: int, output: Grid, relu: bool) -> Tensor: ...

    @abstractmethod
    def to_float(self, x: Tensor, scale: float, zero_point: int) -> Tensor:
        """The product in float32; x: (..., in) uint8 → (..., out)."""


class OnednnKernel(Kernel):
    """oneDNN's, which take plain tensors: what exported graphs are lowered to."""

    def __init__(self, weight: QuantizedWeight, bias: Tensor) -> None:
        super().__init__(weight, bias)
        self.packed = torch.ops.onednn.qlinear_prepack(self.integers, None)
        self.zero_points = torch.zeros(len(self.scale), dtype=torch.int64)

    def _product(self, x: Tensor, scale: float, zero_point: int, *how: Any) -> Tensor:
        weight = (self.packed, self.scale, self.zero_points, self.bias)
        return torch.ops.onednn.qlinear_pointwise(x, scale, zero_point, *weight, *how, [], "")

    def _to_grid(self, x: Tensor, scale: float, zero_point: int, output: Grid, relu: bool) -> Tensor:
        after = "relu" if relu else "none"
        return self._product(x, scale, zero_point, float(output.scale), int(output.zero_point), torch.uint8, after)

    def to_float(self, x: Tensor, scale: float, zero_point: int) -> Tensor:
        return self._product(x, scale, zero_point, 1.0, 0, torch.float32, "none")


class PackedKernel(Kernel):
    """Those behind ``torch.ao.nn.quantized.Linear``, of fbgemm or qnnpack, which take quantized tensors."""

    def __init__(self, weight: QuantizedWeight, bias: Tensor, engine: Engine) -> None:
        super().__init__(weight, bias)
        zero_points = torch.zeros(len(self.scale), dtype=torch.int64)
        rows = torch._make_per_channel_quantized_tensor(self.integers, self.scale.double(), zero_points, 0)
        with engine_in_use(engine):
            self.packed = torch.ops.quantized.linear_prepack(rows, self.bias)

    def _to_grid(self, x: Tensor, scale: float, zero_point: int, output: Grid, relu: bool) -> Tensor:
        linear = torch.ops.quantized.linear_relu if relu else torch.ops.quantized.linear
        return integers_of(
            linear(as_quantized(x, scale, zero_point), self.packed, float(output.scale), int(output.zero_point))
        )

    def to_float(self, x: Tensor, scale: float, zero_point: int) -> Tensor:
        # The kernel puts floats on the grid that it is told, and multiplies integers.
        values = as_quantized(x, scale, zero_point).dequantize()
        return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(values, scale, zero_point, self.packed)


class QnnpackKernel(PackedKernel):
    """qnnpack gives floats only with a range that it finds itself: two rows more make it the one that is wanted."""

    def __init__(self, weight: QuantizedWeight, bias: Tensor) -> None:
        super().__init__(weight, bias, "qnnpack")

    def to_float(self, x: Tensor, scale: float, zero_point: int) -> Tensor:
        rows = as_quantized(x, scale, zero_point).dequantize().reshape(-1, x.shape[-1])
        ends = rows.new_tensor([[-zero_point], [LARGEST_BYTE - zero_point]]) * scale
        product = torch.ops.quantized.linear_dynamic(torch.cat([ends.expand(2, x.shape[-1]), rows]), self.packed)
        return product[2:].reshape(*x.shape[:-1], -1)


def kernel_for(engine: Engine, weight: QuantizedWeight, bias: Tensor) -> Kernel:
    """A weight, (out, in), with its bias, (out,) float32, packed for an engine.

    Raises:
        ModelError: the weight is of a kind that PyTorch's kernels do not multiply.
    """
    if engine == "onednn":
        return OnednnKernel(weight, bias)
    return QnnpackKernel(weight, bias) if engine == "qnnpack" else PackedKernel(weight, bias, engine)
