"""Recurrent parts of a network: one loop over time, in blocks as long as the shortest delay.

Within a block nothing depends on the block itself but at the same time, so that its frames are computed at once. What
does not depend on the recurrence is computed for all frames before the loop, the products of affine components with
their non-recurrent inputs included.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import Append, Descriptor, NodeName, Scale, Sum
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode
from kaldi_quant.nnet3.components import FrameComponent
from kaldi_quant.nnet3.components.affine import Affine
from kaldi_quant.nnet3.components.base import ComponentModule
from kaldi_quant.nnet3.components.elementwise import ConstantOutput
from kaldi_quant.nnet3.expression import (
    Added,
    Columns,
    Compiler,
    Concatenated,
    Constant,
    Expression,
    Rows,
    Scaled,
    Values,
)
from kaldi_quant.nnet3.graph import Graph, Group, shifted_leaves
from kaldi_quant.nnet3.linear import product
from kaldi_quant.nnet3.schedule import Schedule
from kaldi_quant.nnet3.time_access import Times

Bounds = list[tuple[int, int]]


@dataclass
class _Hoisted(Expression):
    """A stretch of what was computed for all frames before the loop."""

    key: str
    first: int
    end: int

    @property
    def length(self) -> int:  # type: ignore[override]
        return self.end - self.first

    def evaluate(self, values: Values) -> Tensor:
        return values.nodes[self.key][:, self.first : self.end]


@dataclass
class _BlockRows(Expression):
    """Rows of a recurrent node from blocks that are computed already."""

    node: str
    blocks: list[int]
    rows: Rows | None
    length: int

    def evaluate(self, values: Values) -> Tensor:
        parts = [values.nodes[_block_key(self.node, block)] for block in self.blocks]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return whole if self.rows is None else self.rows.of(whole)


def _block_key(node: str, block: int) -> str:
    return f"{node} block {block}"


@dataclass
class _Split:
    """An affine node whose input is partly hoisted: columns of the input from outside and from inside the loop."""

    outside: Tensor
    inside: Tensor


@dataclass
class _Member:
    """A node of the group, made ready.

    Args:
        name: the node.
        module: its component; None for a dim-range node.
        hoisted: what is evaluated once for all its times, by key.
        blocks: its expression in each block.
        split: for affine nodes with hoisted input columns.
        bounds: first and one past the last of its times in each block.
    """

    name: str
    module: ComponentModule | None
    bounds: Bounds
    hoisted: dict[str, Expression] = field(default_factory=dict)
    blocks: list[Expression | None] = field(default_factory=list)
    split: _Split | None = None


class _Preparation:
    """Makes a recurrent group ready for a schedule.

    Args:
        graph: the network.
        group: the nodes that depend on each other.
        schedule: the times of all nodes.

    Raises:
        ModelError: the recurrence is of a kind that cannot be executed; names the node.
    """

    def __init__(self, graph: Graph, group: Group, schedule: Schedule) -> None:
        self.graph, self.group, self.schedule = graph, group, schedule
        self.delay = self._find_delay()
        self.windows = self._find_windows()

    def members(self, modules: dict[str, ComponentModule]) -> list[_Member]:
        """The nodes that are computed at any time."""
        return [self._member(name, modules) for name in self.group.nodes if len(self.schedule.times[name])]

    def _fail(self, name: str, why: str) -> ModelError:
        return ModelError(f"{self.graph.nnet.path}: the recurrent node {name} {why}, which is not executed")

    def _find_delay(self) -> int:
        """The shortest delay of the recurrence; negative when it runs backwards in time."""
        inside, shifts = set(self.group.nodes), set()
        for name in self.group.nodes:
            for leaf, shift in shifted_leaves(self.graph.nnet, name):
                if leaf not in inside:
                    continue
                if shift is None:
                    raise self._fail(name, "reads its group through Round or ReplaceIndex")
                if shift != 0:
                    shifts.add(-shift)
        if min(shifts) < 0 < max(shifts):
            raise self._fail(self.group.nodes[0], "depends on both earlier and later frames of itself")
        return min(shifts) if min(shifts) > 0 else max(shifts)

    def _find_windows(self) -> Bounds:
        """Stretches of time, [first, end), in the order of computation."""
        spans = [times for times in (self.schedule.times[name] for name in self.group.nodes) if len(times)]
        first, last = min(int(t[0]) for t in spans), max(int(t[-1]) for t in spans)
        starts = range(first, last + 1, abs(self.delay))
        windows = [(start, start + abs(self.delay)) for start in starts]
        return windows if self.delay > 0 else windows[::-1]

    def _member(self, name: str, modules: dict[str, ComponentModule]) -> _Member:
        node = self.graph.node(name)
        times = self.schedule.times[name]
        bounds = [tuple(np.searchsorted(times, window).tolist()) for window in self.windows]
        module = modules[node.component] if isinstance(node, ComponentNode) else None
        member = _Member(name, module, bounds)
        if module is not None and not isinstance(module, FrameComponent | ConstantOutput):
            raise self._fail(name, f"is a {module.component_type}, which reads other frames than its own")
        if isinstance(module, ConstantOutput):
            member.blocks = [None] * len(bounds)
            return member
        descriptor: Descriptor = NodeName(node.input_node) if isinstance(node, DimRangeNode) else node.input  # type: ignore[union-attr]
        if isinstance(module, Affine) and module.is_splittable:
            descriptor = self._split_columns(member, descriptor, times)
        for block, (first, end) in enumerate(bounds):
            expression = self._compile(member, descriptor, times, first, end, block) if end > first else None
            if expression is not None and isinstance(node, DimRangeNode):
                expression = Columns(expression, node.dim_offset, node.dim, end - first)
            member.blocks.append(expression)
        return member

    def _is_inside(self, descriptor: Descriptor) -> bool:
        return any(leaf.node in self.group.nodes for leaf in descriptor.leaves())

    def _split_columns(self, member: _Member, descriptor: Descriptor, times: Times) -> Descriptor:
        """Hoists the parts of an affine node's Append that the recurrence does not touch; returns the others."""
        parts = list(descriptor.parts) if isinstance(descriptor, Append) else [descriptor]
        inside = [self._is_inside(part) for part in parts]
        if all(inside):
            return descriptor
        ends = np.cumsum([part.dim(self.graph.nnet.node_dim) for part in parts])
        columns = np.split(np.arange(ends[-1]), ends[:-1])

        def select(wanted: bool) -> tuple[tuple[Descriptor, ...], Tensor]:
            chosen = [i for i, part_inside in enumerate(inside) if part_inside == wanted]
            index = torch.from_numpy(np.concatenate([columns[i] for i in chosen]))
            return tuple(parts[i] for i in chosen), index

        outside_parts, outside = select(False)
        inside_parts, inside_columns = select(True)
        member.hoisted[f"{member.name} outside"] = Compiler(self.schedule).compile(Append(outside_parts), times)
        member.split = _Split(outside, inside_columns)
        return Append(inside_parts)

    def _compile(
        self, member: _Member, descriptor: Descriptor, times: Times, first: int, end: int, block: int
    ) -> Expression:
        """The expression of a descriptor for the times first..end-1 of a member, which lie in one block."""
        if not self._is_inside(descriptor):
            key = f"{member.name} input {descriptor}"
            if key not in member.hoisted:
                member.hoisted[key] = Compiler(self.schedule).compile(descriptor, times)
            return _Hoisted(key, first, end)
        length = end - first

        def below(source: Descriptor) -> Expression:
            return self._compile(member, source, times, first, end, block)

        match descriptor:
            case Append(parts):
                return Concatenated([below(part) for part in parts], length)
            case Sum(parts):
                return Added([below(part) for part in parts], length)
            case Scale(source, scale):
                return Scaled(below(source), scale, length)
        return self._leaf(descriptor, times[first:end], block)

    def _leaf(self, descriptor: Descriptor, t: Times, block: int) -> Expression:
        """What a descriptor yields at times t, of one block, with recurrent nodes read from the blocks before it."""
        return Compiler(self.schedule, lambda node, shifted: self._rows(node, shifted, block)).compile(descriptor, t)

    def _rows(self, node: str, t: Times, block: int) -> Expression:
        """Rows of a node at times t, from the blocks up to this one; missing times yield some row, to be masked."""
        if node not in self.group.nodes:
            return Compiler(self.schedule).node_rows(node, t)
        times = self.schedule.times[node]
        dim = self.graph.nnet.node_dim(node)
        found = np.isin(t, times)
        if not found.any():
            return Constant(0.0, len(t), dim)
        index = np.searchsorted(times, np.where(found, t, t[found][0]))
        block_of = self._block_of(times[index])
        blocks = sorted(set(block_of.tolist()))
        if blocks[-1] > block:
            raise self._fail(node, "is needed before it can be computed")
        bounds = {b: tuple(np.searchsorted(times, self.windows[b]).tolist()) for b in blocks}
        rows = np.concatenate([np.arange(*bounds[b]) for b in blocks])
        position = {int(row): i for i, row in enumerate(rows)}
        chosen = np.array([position[int(i)] for i in index])
        whole = len(chosen) == len(rows) and bool((chosen == np.arange(len(rows))).all())
        return _BlockRows(node, blocks, None if whole else Rows(chosen), len(t))

    def _block_of(self, t: Times) -> np.ndarray:
        start = min(window[0] for window in self.windows)
        block = (t - start) // abs(self.delay)
        return block if self.delay > 0 else len(self.windows) - 1 - block


class Recurrence:
    """A recurrent group, made ready for a schedule, which is not kept.

    Args:
        graph: the network.
        group: the nodes that depend on each other.
        schedule: the times of all nodes.
        modules: the components by name.

    Raises:
        ModelError: the recurrence is of a kind that cannot be executed; names the node.
    """

    def __init__(self, graph: Graph, group: Group, schedule: Schedule, modules: dict[str, ComponentModule]) -> None:
        preparation = _Preparation(graph, group, schedule)
        self.delay, self.windows = preparation.delay, preparation.windows
        self.members = preparation.members(modules)

    def run(self, values: Values) -> None:
        """Computes the group's nodes; adds them to ``values``."""
        for member in self.members:
            for key, expression in member.hoisted.items():
                values.nodes[key] = expression.evaluate(values)
            if member.split is not None:
                assert isinstance(member.module, Affine)
                key = f"{member.name} outside"
                weight = member.module.weight[:, member.split.outside]
                values.nodes[key] = product(values.nodes[key], weight, member.module.bias)
        inside = {
            member.name: member.module.weight[:, member.split.inside]
            for member in self.members
            if member.split is not None and isinstance(member.module, Affine)
        }
        for block in range(len(self.windows)):
            for member in self.members:
                first, end = member.bounds[block]
                if end > first:
                    x = self._step(member, block, inside, values)
                    values.nodes[_block_key(member.name, block)] = values.tapped(member.name, x)
        order = range(len(self.windows)) if self.delay > 0 else range(len(self.windows) - 1, -1, -1)
        for member in self.members:
            keys = [_block_key(member.name, block) for block in order]
            values.nodes[member.name] = torch.cat([values.nodes.pop(key) for key in keys if key in values.nodes], dim=1)
            for key in member.hoisted:
                del values.nodes[key]

    def _step(self, member: _Member, block: int, inside: dict[str, Tensor], values: Values) -> Tensor:
        """One node in one block: (N, times in the block, dim)."""
        first, end = member.bounds[block]
        if isinstance(member.module, ConstantOutput):
            return member.module(values.batch, end - first)
        expression = member.blocks[block]
        assert expression is not None
        x = expression.evaluate(values)
        if member.split is not None:
            return values.nodes[f"{member.name} outside"][:, first:end] + product(x, inside[member.name])
        return x if member.module is None else member.module(x)
