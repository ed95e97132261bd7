"""Moves that leave every value there, once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from kaldi_quant.backends.onnx.writer import Name
from kaldi_quant.torchnn.computation import compute
from kaldi_quant.torchnn.onnx.axes import Shape
from kaldi_quant.torchnn.onnx.operation import Operation, adds
from kaldi_quant.torchnn.onnx.sizes import Number, Size


@adds("contiguous", "clone", "detach")
def nothing(operation: Operation) -> Name:
    """What changes no value."""
    return operation.x


def shaped(operation: Operation, numbers: Sequence[Number]) -> Name:
    """The first argument with the sizes that a network names, one of which may be -1."""
    known = [wanted if size is None else size for wanted, size in zip(numbers, operation.after, strict=True)]
    return operation.sizes.reshaped(operation.x, known)


@adds("reshape", "view")
def reshape(operation: Operation) -> Name:
    """To sizes."""
    sizes = operation.argument(1, "shape", operation.kwargs.get("size"))
    if isinstance(sizes, torch.dtype):
        operation.refuse("has no ONNX form as a view of another type")
    return shaped(operation, list(sizes) if isinstance(sizes, list | tuple) else list(operation.args[1:]))


@adds("view_as", "reshape_as")
def like(operation: Operation) -> Name:
    """To the sizes of another tensor."""
    other = operation.node.args[1]
    name, shape = operation.tensor(1, "other"), operation.known.shape(other)  # type: ignore[arg-type]
    return shaped(operation, operation.sizes.of(name, shape))


@adds("flatten", "ravel")
def flatten(operation: Operation) -> Name:
    """Some axes as one."""
    if not operation.before:
        return operation.sizes.reshaped(operation.x, [1])
    first, last = operation.axis(1, "start_dim", 0), operation.axis(2, "end_dim", -1)
    sizes = operation.x_sizes()
    if first == last:
        return operation.x
    merged = sizes[first : last + 1]
    others = [size for size in [*sizes[:first], *sizes[last + 1 :]] if isinstance(size, Size)]
    free = any(isinstance(size, Size) for size in merged)
    whole: Number = -1
    if not free:
        whole = operation.sizes.product(merged)
    elif any(size.axis > last for size in others):
        # ONNX finds one size by itself, and those before are the same as they were.
        whole = operation.sizes.product(merged)
    return operation.sizes.reshaped(operation.x, [*sizes[:first], whole, *sizes[last + 1 :]])


@adds("unflatten")
def unflatten(operation: Operation) -> Name:
    """One axis as several."""
    axis = operation.axis(1, "dim")
    sizes, wanted = operation.x_sizes(), list(operation.argument(2, "sizes"))
    rest = sizes[axis + 1 :]
    if any(isinstance(size, Size) for size in rest) and -1 in wanted:
        others = math.prod(size for size in wanted if isinstance(size, int) and size != -1)
        wanted[wanted.index(-1)] = operation.sizes.divide(sizes[axis], others)
    return shaped(operation, [*sizes[:axis], *wanted, *rest])


@adds("squeeze", "unsqueeze")
def axes_of_one(operation: Operation) -> Name:
    """Axes of size one taken out or put in."""
    if operation.name == "unsqueeze":
        axis = operation.argument(1, "dim") % len(operation.after)
        return operation.op("Unsqueeze", [operation.x, operation.writer.integers(axis)])
    wanted = operation.argument(1, "dim")
    chosen = wanted if isinstance(wanted, list | tuple) else [wanted]
    axes = range(len(operation.before)) if wanted is None else [axis % len(operation.before) for axis in chosen]
    found = [axis for axis in axes if operation.before[axis] == 1]
    if not found:
        return operation.x
    return operation.op("Squeeze", [operation.x, operation.writer.integers(*found)])


@adds("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT")
def permute(operation: Operation) -> Name:
    """Axes in another order, which a tensor shows whose axes are all of other sizes."""
    probe = torch.empty([2 + axis for axis in range(len(operation.before))], device="meta")
    moved = compute(
        operation.node,
        torch.nn.Module(),
        lambda node: probe if node is operation.source else operation.known.values[node],
    )
    order = [size - 2 for size in moved.shape]
    return operation.x if order == sorted(order) else operation.op("Transpose", [operation.x], perm=order)


def regrouped(operation: Operation, apart: Sequence[Number], order: Sequence[int], whole: Sequence[Number]) -> Name:
    """Values reshaped, transposed and reshaped; -1 where ONNX finds the size by itself."""
    x = operation.sizes.reshaped(operation.x, apart)
    return operation.sizes.reshaped(operation.op("Transpose", [x], perm=list(order)), whole)


def _image(operation: Operation) -> tuple[Shape, list[Number]]:
    if len(operation.before) != 4:
        operation.refuse("has an ONNX form for (N, C, H, W) alone")
    return operation.before, operation.x_sizes()


@adds("pixel_shuffle")
def pixel_shuffle(operation: Operation) -> Name:
    """Channels as places."""
    factor = operation.argument(1, "upscale_factor")
    _, (_, _, height, width) = _image(operation)
    channels = operation.size_known(1) // factor**2
    numbers = operation.sizes
    higher, wider = numbers.multiply(height, factor), numbers.multiply(width, factor)
    return regrouped(
        operation,
        [0, channels, factor, factor, height, width],
        [0, 1, 4, 2, 5, 3],
        [0, channels, higher, wider],
    )


@adds("pixel_unshuffle")
def pixel_unshuffle(operation: Operation) -> Name:
    """Places as channels."""
    factor = operation.argument(1, "downscale_factor")
    _, (_, _, height, width) = _image(operation)
    channels, numbers = operation.size_known(1), operation.sizes
    lower, narrower = numbers.divide(height, factor), numbers.divide(width, factor)
    return regrouped(
        operation,
        [0, channels, lower, factor, narrower, factor],
        [0, 1, 3, 5, 2, 4],
        [0, channels * factor**2, lower, narrower],
    )


@adds("channel_shuffle")
def channel_shuffle(operation: Operation) -> Name:
    """Channels of groups in turn."""
    groups, channels = operation.argument(1, "groups"), operation.size_known(1)
    rest = operation.x_sizes()[2:]
    order = [0, 2, 1, *range(3, 3 + len(rest))]
    return regrouped(operation, [0, groups, channels // groups, *rest], order, [0, channels, *rest])
