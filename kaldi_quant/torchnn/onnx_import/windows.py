"""The windows of convolutions and pooling: kernels, strides, dilations, and what is put around the input."""

from __future__ import annotations

import operator as python
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import fx
from torch.nn import functional

from kaldi_quant.torchnn.onnx_import.operator import Operator
from kaldi_quant.torchnn.onnx_import.values import Number

_SAME = ("SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Window:
    """A window along each axis of places.

    Args:
        kernel: its size.
        stride: places between windows.
        dilation: places between what a window reads.
        before: places around the input, or cut off from the output of a transposed convolution.
        after: likewise, at the end.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[Number, ...]
    after: tuple[Number, ...]

    @property
    def both(self) -> tuple[int, ...] | None:
        """The places on each side of an axis, if there are as many on both; None where not."""
        known = [one for one in self.before if isinstance(one, int) and one >= 0]
        return tuple(known) if self.before == self.after and len(known) == len(self.before) else None

    @property
    def cut_off(self) -> Window:
        """The window that pads by less than nothing, as much as this one by more."""
        before, after = (
            tuple(-amount for amount in side if isinstance(amount, int)) for side in (self.before, self.after)
        )
        return Window(self.kernel, self.stride, self.dilation, before, after)

    @classmethod
    def of(cls, operator: Operator, kernel: Sequence[int]) -> Self:
        """The window of a convolution or of pooling, whose input is the operator's first."""
        kernel, stride, dilation, pads, auto = _options(operator, kernel)
        if auto not in _SAME:
            return cls(kernel, stride, dilation, pads[: len(kernel)], pads[len(kernel) :])
        totals = []
        for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
            reach = gap * (size - 1) + 1
            totals.append(_same_total(operator, axis + 2, reach, step))
        return cls(kernel, stride, dilation, *_halves(operator, totals, auto == "SAME_UPPER"))

    @classmethod
    def of_transposed(cls, operator: Operator, kernel: Sequence[int], added: Sequence[int]) -> Self:
        """The window of a transposed convolution; added: places at the end of each axis."""
        kernel, stride, dilation, pads, auto = _options(operator, kernel)
        wanted = operator.attribute("output_shape")
        if wanted is None and auto not in _SAME:
            return cls(kernel, stride, dilation, pads[: len(kernel)], pads[len(kernel) :])
        totals: list[Number] = []
        for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
            # The output is as long as the input times the stride, or as it should be.
            beyond = gap * (size - 1) + 1 - step + added[axis]
            if wanted is not None:
                length = operator.known_size(0, axis + 2)
                if length is None:
                    operator.refuse("has an output_shape and an input of any length, which is not understood")
                beyond += step * length - wanted[len(wanted) - len(kernel) + axis]
            if beyond < 0:
                operator.refuse("would be longer than it is computed, which is not understood")
            totals.append(beyond)
        # Where the number is odd, ONNX cuts one more off at the end, if it is the upper one.
        return cls(kernel, stride, dilation, *_halves(operator, totals, auto == "SAME_UPPER"))


def _options(
    operator: Operator, kernel: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], str]:
    axes = len(kernel)
    told = tuple(operator.attribute("kernel_shape", list(kernel)))
    if told != tuple(kernel):
        operator.refuse(f"has a weight for windows of {list(kernel)} places, and kernel_shape {list(told)}")
    stride, dilation = (tuple(operator.attribute(name, [1] * axes)) for name in ("strides", "dilations"))
    pads, auto = tuple(operator.attribute("pads", [0] * 2 * axes)), operator.attribute("auto_pad", "NOTSET")
    if len(stride) != axes or len(dilation) != axes or len(pads) != 2 * axes:
        operator.refuse(f"has options for another number of axes than {axes}")
    if auto not in ("NOTSET", "VALID", *_SAME):
        operator.refuse(f"has auto_pad = {auto!r}, which is not understood")
    return told, stride, dilation, pads if auto == "NOTSET" else (0,) * 2 * axes, auto


def _same_total(operator: Operator, axis: int, reach: int, step: int) -> Number:
    """How many places are put around an axis so that there is a window for each stride.

    Args:
        operator: whose first input it is.
        axis: of it.
        reach: how many places a window covers.
        step: places between windows.
    """
    length = operator.known_size(0, axis)
    if length is not None:
        return max(0, (-(-length // step) - 1) * step + reach - length)
    if step == 1:
        return reach - 1
    if reach < step:
        operator.refuse("has windows with gaps between them, and an input of any length, which is not understood")
    found = operator.method("size", operator.x, axis)
    # (-length) mod stride places are missing to the last stride.
    missing = operator.call(python.mod, operator.call(python.neg, found), step)
    return operator.call(python.add, missing, reach - step)


def _halves(operator: Operator, totals: Sequence[Number], upper: bool) -> tuple[tuple[Number, ...], tuple[Number, ...]]:
    """Half of each at the beginning and at the end; where it is odd, one more at the upper end, or at the lower one."""
    small: list[Number] = []
    large: list[Number] = []
    for total in totals:
        if isinstance(total, int):
            small.append(total // 2)
            large.append(total - total // 2)
        else:
            small.append(operator.call(python.floordiv, total, 2))
            large.append(operator.call(python.sub, total, small[-1]))
    return (tuple(small), tuple(large)) if upper else (tuple(large), tuple(small))


def padded(operator: Operator, x: fx.Node, window: Window, value: float) -> fx.Node:
    """An input with a number around it."""
    amounts = [amount for pair in zip(window.before, window.after, strict=True) for amount in reversed(pair)]
    more = {} if value == 0 else {"value": value}
    return operator.call(functional.pad, x, tuple(amounts[::-1]), **more)
