"""Convolutions of every kind as one: what it reads, and how the results of a transposed one are put in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.forms.convolution import Convolution, Sizes
from kaldi_quant.torchnn.forms.transposed_convolution import TransposedConvolution
from kaldi_quant.torchnn.onnx.axes import Shape
from kaldi_quant.torchnn.onnx.sizes import END, Number
from kaldi_quant.torchnn.onnx.sizes import Sizes as SizeWriter


@dataclass(frozen=True)
class Interleaving:
    """Results of phases put in turn (``forms.transposed_convolution``).

    Args:
        phases: along each axis.
        cut: places left out at the beginning.
        end: where to end, counted from the end; zero for there.
    """

    phases: Sizes
    cut: Sizes
    end: Sizes

    def write(self, sizes: SizeWriter, x: Name, places: Shape) -> Name:
        """x: (N, out * phases, *places), a shape of which ``places`` is known → (N, out, *longer places)."""
        axes = len(self.phases)
        if any(step > 1 for step in self.phases):
            batch, _, *lengths = sizes.of(x, (None, 1, *places))
            apart: list[Number] = [batch, -1, *self.phases, *lengths]
            order = [0, 1, *(axis for place in range(axes) for axis in (2 + axes + place, 2 + place))]
            x = sizes.writer.op("Transpose", [self._reshaped(sizes, x, apart)], perm=order)
            longer = [sizes.multiply(n, step) for n, step in zip(lengths, self.phases, strict=True)]
            x = self._reshaped(sizes, x, [batch, -1, *longer])
        ends = [end or END for end in self.end]
        if any(self.cut) or any(self.end):
            bounds = [list(self.cut), ends, [2 + axis for axis in range(axes)]]
            x = sizes.writer.op("Slice", [x, *(sizes.vector(each) for each in bounds)])
        return x

    @staticmethod
    def _reshaped(sizes: SizeWriter, x: Name, numbers: list[Number]) -> Name:
        # The batch is the first axis always.
        return sizes.reshaped(x, [0, *numbers[1:]])


@dataclass(frozen=True)
class Geometry:
    """A convolution over any number of axes.

    Args:
        kernel: its size along each axis.
        stride: along each axis.
        dilation: along each axis.
        before: zeros before the places of each axis.
        after: zeros after them.
        groups: of channels.
        interleaving: of the results, for a transposed convolution.
    """

    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    before: Sizes
    after: Sizes
    groups: int
    interleaving: Interleaving | None = None

    @classmethod
    def of(cls, layer: Convolution | TransposedConvolution) -> Geometry:
        """What a layer does."""
        if isinstance(layer, Convolution):
            return cls(layer.kernel, layer.stride, layer.dilation, layer.before, layer.after, layer.groups)
        ones = (1,) * len(layer.taps)
        # So many more places of each phase are wanted than the input has.
        more = [
            -(-(cut + longer) // step) for cut, longer, step in zip(layer.cut, layer.longer, layer.phases, strict=True)
        ]
        after = tuple(max(0, number) for number in more)
        end = tuple(
            cut + longer - step * number
            for cut, longer, step, number in zip(layer.cut, layer.longer, layer.phases, after, strict=True)
        )
        before = tuple(taps - 1 for taps in layer.taps)
        turn = Interleaving(layer.phases, layer.cut, end)
        return cls(layer.taps, ones, ones, before, after, layer.groups, turn)

    def attributes(self, pads: bool = True) -> dict[str, Any]:
        """Of an ONNX convolution; pads: whether it pads by itself."""
        zeros = (0,) * len(self.kernel)
        return {
            "kernel_shape": self.kernel,
            "strides": self.stride,
            "dilations": self.dilation,
            "pads": [*self.before, *self.after] if pads else [*zeros, *zeros],
            "group": self.groups,
        }

    @property
    def pads(self) -> bool:
        """Whether zeros are put around."""
        return any(self.before) or any(self.after)

    def places(self, lengths: Shape) -> Shape:
        """The places of the result before these are put in turn."""
        return tuple(
            None if n is None else (n + low + high - gap * (size - 1) - 1) // step + 1
            for n, low, high, gap, size, step in zip(
                lengths, self.before, self.after, self.dilation, self.kernel, self.stride, strict=True
            )
        )
