"""Which axes of a network's values have any length, and which sizes are known: calls of several lengths tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from kaldi_quant.errors import DataError, ModelError
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.computation import compute
from kaldi_quant.torchnn.variants import FAILURES, variants

#: Axes of inputs, as (number of the input, axis).
Axes = frozenset[tuple[int, int]]
#: Of a tensor; None for an axis of any length.
Shape = tuple[int | None, ...]


class FreeAxisError(ModelError):
    """An operation has an ONNX form for known sizes alone, and a size is free."""


class _Bearing(nn.Module):
    """A network to which a call that it refuses is one that it does not bear."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the network."""
        try:
            return self.network(*args, **kwargs)
        except DataError as error:
            raise ValueError(str(error)) from error


def free_axes(network: nn.Module, call: Call) -> Axes:
    """The axes of inputs that may have other lengths than the example's."""
    calls = [*variants(_Bearing(network), call), *_aligned(network, call)]
    return frozenset(axis for longer in calls for axis in _changed(call, longer))


def _aligned(network: nn.Module, call: Call) -> Iterator[Call]:
    """Calls in which an axis of each of several inputs is longer, as that of the batch is, wherever in each it lies."""
    shapes = [x.shape for x in call.tensors]
    groups: set[Axes] = set()
    for size in {size for shape in shapes for size in shape}:
        places = [
            [(number, axis) for axis in range(len(shape)) if shape[axis] == size] for number, shape in enumerate(shapes)
        ]
        groups |= {
            frozenset(place for of_input in places for place in of_input if place[1] == axis)
            for axis in range(max(map(len, shapes)))
        }
        groups |= {frozenset(chosen) for chosen in itertools.product(*filter(None, places))}
    for together in groups:
        if len(together) > 1:
            yield from _borne(network, _longer(call, together))


def _borne(network: nn.Module, call: Call) -> Iterator[Call]:
    """The call, if the network bears it."""
    try:
        with torch.no_grad():
            call.copied().run(_Bearing(network))
    except FAILURES:
        return
    yield call


def _changed(call: Call, other: Call) -> Axes:
    return frozenset(
        (number, axis)
        for number, (one, two) in enumerate(zip(call.tensors, other.tensors, strict=True))
        for axis in range(one.dim())
        if one.shape[axis] != two.shape[axis]
    )


def computed(
    graph: fx.Graph, root: nn.Module, inputs: list[Tensor], kept: Callable[[Any], Any] = lambda value: value
) -> dict[fx.Node, Any]:
    """What every node of a graph is for an input.

    Args:
        graph: of functions, layers, and modules that cannot be followed.
        root: has the modules and tensors that nodes name.
        inputs: one for each placeholder.
        kept: what is told of each value, which itself goes when no other needs it any more.
    """
    values: dict[fx.Node, Any] = {}
    found: dict[fx.Node, Any] = {}
    waiting = {node: len(node.users) for node in graph.nodes}
    rest = iter(inputs)
    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "output":
                continue
            value = next(rest) if node.op == "placeholder" else compute(node, root, values.__getitem__)
            found[node] = kept(value)
            if waiting[node]:
                values[node] = value
            for source in node.all_input_nodes:
                waiting[source] -= 1
                if not waiting[source]:
                    del values[source]
    return found


class KnownSizes:
    """What is known of the sizes of a graph's values.

    Args:
        graph: of functions.
        root: has the modules and tensors that nodes name.
        network: the same, to be called.
        call: an example.
        free: axes of inputs that may have any length.
    """

    def __init__(self, graph: fx.Graph, root: nn.Module, network: nn.Module, call: Call, free: Axes) -> None:
        #: What each node is for the example.
        self.values = computed(graph, root, call.tensors)
        self._others: list[dict[fx.Node, Any]] = []
        for longer in calls_of_other_sizes(network, call, free):
            self._others.append(computed(graph, root, longer.tensors, _sizes))

    def shape(self, node: fx.Node) -> Shape:
        """Of a node that is a tensor."""
        return self._shape(self.values[node].shape, [other[node] for other in self._others])

    def shape_within(self, node: fx.Node, place: int) -> Shape:
        """Of one of the tensors that a node is."""
        return self._shape(self.values[node][place].shape, [other[node][place] for other in self._others])

    @staticmethod
    def _shape(shape: torch.Size, others: list[torch.Size]) -> Shape:
        return tuple(size if all(other[axis] == size for other in others) else None for axis, size in enumerate(shape))

    def is_settled(self, node: fx.Node) -> bool:
        """Whether a node has the same sizes, or as a number the same value, for all calls."""
        found = _sizes(self.values[node])
        return all(other[node] == found for other in self._others)


def calls_of_other_sizes(network: nn.Module, call: Call, free: Axes) -> Iterator[Call]:
    """Calls in which free axes are longer, one after another and all together, and the longest ones by much."""
    if not free:
        return
    for longer in (*variants(_Bearing(network), call), *_aligned(network, call)):
        if _changed(call, longer) <= free:
            yield longer
    yield from _borne(network, _longer(call, free))
    # A few places more may be less than a stride, and change nothing.
    sizes = {(number, axis): call.tensors[number].shape[axis] for number, axis in free}
    longest = frozenset(axis for axis, size in sizes.items() if size == max(sizes.values()))
    yield from _borne(network, _longer(call, longest, max(sizes.values())))


def _longer(call: Call, axes: Axes, more: int = 1) -> Call:
    """The call with some axes longer."""
    tensors = []
    for number, x in enumerate(call.tensors):
        for axis in range(x.dim()):
            if (number, axis) in axes:
                x = torch.cat([x, x.narrow(axis, 0, more)], axis)
        tensors.append(x)
    return call.with_tensors(tensors)


def _sizes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return [_sizes(one) for one in value]
    return value
