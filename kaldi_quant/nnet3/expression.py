"""Descriptors made ready for a schedule: which rows of which node's output are glued together, and how.

Index arithmetic is done once, here; evaluation is torch alone. Every expression yields (N, len, dim) for its own list
of times, N being the number of sequences in the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.kaldi.descriptor import (
    Append,
    Const,
    Descriptor,
    Failover,
    IfDefined,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Scale,
    Sum,
    Switch,
)
from kaldi_quant.nnet3.schedule import Schedule
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.quant.taps import Tap


@dataclass
class Values:
    """The outputs of the nodes computed so far.

    Args:
        nodes: for each node (N, len(times), dim).
        batch: N.
        kinds: (N,) int64: which of the request's spans each sequence has.
        like: a tensor of the computation's dtype and device.
        taps: for some nodes a function that is given the output, (N, times, dim), and whose result takes its place.
    """

    nodes: dict[str, Tensor]
    batch: int
    kinds: Tensor
    like: Tensor
    taps: Mapping[str, Tap]

    def tapped(self, node: str, x: Tensor) -> Tensor:
        """A node's output after its tap."""
        return self.taps[node](x) if node in self.taps else x


class Expression(ABC):
    """Something that yields (N, length, dim)."""

    length: int

    @abstractmethod
    def evaluate(self, values: Values) -> Tensor:
        """→ (N, length, dim)."""


class Rows:
    """A choice of rows along the time axis: a slice where they are evenly spaced, else an index.

    Args:
        index: (len,) int64.
    """

    def __init__(self, index: np.ndarray) -> None:
        self.slice: slice | None = None
        self.index: Tensor | None = None
        steps = np.unique(np.diff(index))
        if len(index) and len(steps) <= 1 and (len(steps) == 0 or steps[0] > 0):
            step = int(steps[0]) if len(steps) else 1
            self.slice = slice(int(index[0]), int(index[-1]) + 1, step)
        else:
            self.index = torch.from_numpy(np.asarray(index, np.int64).copy())

    def of(self, x: Tensor) -> Tensor:
        """The chosen rows. x: (N, T, dim) → (N, len, dim); a view where it can be."""
        if self.slice is not None:
            return x[:, self.slice]
        assert self.index is not None
        self.index = self.index.to(x.device)
        return x.index_select(1, self.index)


class Mask:
    """Where something exists, for each of a request's spans.

    Args:
        table: (spans or 1, len) bool.
    """

    def __init__(self, table: np.ndarray) -> None:
        self.everywhere = bool(table.all())
        self.nowhere = not table.any()
        self._table = torch.from_numpy(table.copy())

    def of(self, values: Values) -> Tensor:
        """(N or 1, len, 1) bool."""
        self._table = self._table.to(values.like.device)
        table = self._table if len(self._table) == 1 else self._table[values.kinds]
        return table.unsqueeze(-1)

    def apply(self, x: Tensor, values: Values) -> Tensor:
        """x, (N, len, dim), with zero where it does not exist."""
        return x if self.everywhere else torch.where(self.of(values), x, x.new_zeros(()))


@dataclass
class NodeRows(Expression):
    """Rows of a node's output."""

    node: str
    rows: Rows
    length: int

    def evaluate(self, values: Values) -> Tensor:
        return self.rows.of(values.nodes[self.node])


@dataclass
class Constant(Expression):
    """A constant in every element."""

    value: float
    length: int
    dim: int

    def evaluate(self, values: Values) -> Tensor:
        return values.like.new_full((values.batch, self.length, self.dim), self.value)


@dataclass
class Concatenated(Expression):
    """Columns side by side."""

    parts: list[Expression]
    length: int

    def evaluate(self, values: Values) -> Tensor:
        spliced = self._spliced_node()
        if spliced is not None and torch.is_grad_enabled() and values.nodes[spliced].requires_grad:
            return _Splice.apply(values.nodes[spliced], [part.rows.slice for part in self.parts])  # type: ignore[attr-defined]
        return torch.cat([part.evaluate(values) for part in self.parts], dim=-1)

    def _spliced_node(self) -> str | None:
        """The node of which all parts are evenly spaced rows, if there is one."""
        nodes = {part.node for part in self.parts if isinstance(part, NodeRows) and part.rows.slice is not None}
        rows = all(isinstance(part, NodeRows) and part.rows.slice is not None for part in self.parts)
        return nodes.pop() if rows and len(nodes) == 1 else None


class _Splice(torch.autograd.Function):
    """Several choices of rows of one tensor side by side; the gradients of all are added up in one tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slices: list[slice]) -> Tensor:
        ctx.slices, ctx.shape = slices, x.shape
        return torch.cat([x[:, rows] for rows in slices], dim=-1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        total = grad.new_zeros(ctx.shape)
        for rows, part in zip(ctx.slices, grad.split(ctx.shape[-1], dim=-1), strict=True):
            total[:, rows] += part
        return total, None


@dataclass
class Added(Expression):
    """The sum of the parts."""

    parts: list[Expression]
    length: int

    def evaluate(self, values: Values) -> Tensor:
        # Scales are multiplied in while adding: one pass over memory less.
        first, *others = sorted(self.parts, key=lambda part: isinstance(part, Scaled))
        total = first.evaluate(values)
        for part in others:
            if isinstance(part, Scaled):
                total = torch.add(total, part.source.evaluate(values), alpha=part.scale)
            else:
                total = total + part.evaluate(values)
        return total


@dataclass
class Scaled(Expression):
    """The source times a number."""

    source: Expression
    scale: float
    length: int

    def evaluate(self, values: Values) -> Tensor:
        return self.source.evaluate(values) * self.scale


@dataclass
class Masked(Expression):
    """The source where it exists, else zero."""

    source: Expression
    mask: Mask
    length: int

    def evaluate(self, values: Values) -> Tensor:
        return self.mask.apply(self.source.evaluate(values), values)


@dataclass
class Chosen(Expression):
    """The first source where it exists, else the second."""

    first: Expression
    second: Expression
    mask: Mask
    length: int

    def evaluate(self, values: Values) -> Tensor:
        return torch.where(self.mask.of(values), self.first.evaluate(values), self.second.evaluate(values))


@dataclass
class Repeated(Expression):
    """One row for all times."""

    source: Expression
    length: int

    def evaluate(self, values: Values) -> Tensor:
        return self.source.evaluate(values).expand(-1, self.length, -1)


@dataclass
class Interleaved(Expression):
    """Rows of several sources in the order of time."""

    sources: list[Expression]
    rows: Rows
    length: int

    def evaluate(self, values: Values) -> Tensor:
        return self.rows.of(torch.cat([source.evaluate(values) for source in self.sources], dim=1))


@dataclass
class Columns(Expression):
    """A range of the source's columns."""

    source: Expression
    first: int
    dim: int
    length: int

    def evaluate(self, values: Values) -> Tensor:
        return self.source.evaluate(values)[..., self.first : self.first + self.dim]


Leaf = Callable[[str, Times], Expression]


class Compiler:
    """Turns descriptors into expressions for a schedule.

    Args:
        schedule: the times of all nodes.
        leaf: makes the expression for a node's output at given times.
    """

    def __init__(self, schedule: Schedule, leaf: Leaf | None = None) -> None:
        self.schedule = schedule
        self.leaf = leaf  # not a method of its own: in a circle of references schedules would outlive their use

    def node_rows(self, node: str, t: Times) -> Expression:
        """Rows of a node that is computed already; times that it lacks yield some other row, to be masked."""
        times = self.schedule.times[node]
        if not len(times):
            return Constant(0.0, len(t), self.schedule.graph.nnet.node_dim(node))
        index = np.clip(np.searchsorted(times, t), 0, len(times) - 1)
        return NodeRows(node, Rows(index), len(t))

    def mask(self, descriptor: Descriptor, t: Times) -> Mask:
        """Where a descriptor is computable."""
        return Mask(self.schedule.available.of(descriptor, t))

    def compile(self, descriptor: Descriptor, t: Times) -> Expression:
        """The expression for a descriptor at times t, (len,)."""
        length = len(t)
        match descriptor:
            case NodeName(node):
                return self.leaf(node, t) if self.leaf else self.node_rows(node, t)
            case Const(value, size):
                return Constant(value, length, size)
            case Offset(source, shift):
                return self.compile(source, t + shift)
            case Round(source, modulus):
                return self.compile(source, t - t % modulus)
            case ReplaceIndex(source, _, value):
                return Repeated(self.compile(source, np.array([value])), length)
            case Scale(source, scale):
                return Scaled(self.compile(source, t), scale, length)
            case Sum(parts):
                return Added([self.compile(part, t) for part in parts], length)
            case Append(parts):
                return Concatenated([self.compile(part, t) for part in parts], length)
            case IfDefined(source):
                return self.optional(source, t)
            case Failover(parts):
                return self._failover(parts, t)
            case Switch(parts):
                return self._switch(parts, t)
        raise AssertionError(descriptor)

    def optional(self, source: Descriptor, t: Times) -> Expression:
        """A descriptor, with zero where it is not computable."""
        mask = self.mask(source, t)
        if mask.nowhere:
            return Constant(0.0, len(t), source.dim(self.schedule.graph.nnet.node_dim))
        compiled = self.compile(source, t)
        return compiled if mask.everywhere else Masked(compiled, mask, len(t))

    def _failover(self, parts: tuple[Descriptor, ...], t: Times) -> Expression:
        mask = self.mask(parts[0], t)
        if mask.everywhere:
            return self.compile(parts[0], t)
        if mask.nowhere:
            return self.compile(parts[1], t)
        return Chosen(self.compile(parts[0], t), self.compile(parts[1], t), mask, len(t))

    def _switch(self, parts: tuple[Descriptor, ...], t: Times) -> Expression:
        which = t % len(parts)
        used = [i for i in range(len(parts)) if (which == i).any()]
        if len(used) == 1:
            return self.compile(parts[used[0]], t)
        sources = [self.compile(parts[i], t[which == i]) for i in used]
        order = np.concatenate([np.flatnonzero(which == i) for i in used])
        return Interleaved(sources, Rows(np.argsort(order)), len(t))
