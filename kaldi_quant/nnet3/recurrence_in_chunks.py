"""Recurrent parts of a network, going on from what earlier chunks have computed of them.

Frames are computed in stretches as long as the recurrence's shortest delay, within which nothing depends on the stretch
itself but at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode, OutputNode
from kaldi_quant.nnet3.components.base import ComponentModule
from kaldi_quant.nnet3.components.elementwise import ConstantOutput
from kaldi_quant.nnet3.expression import Columns, Compiler, Expression, Rows, Values
from kaldi_quant.nnet3.graph import Graph, Group, shifted_leaves
from kaldi_quant.nnet3.program import Step
from kaldi_quant.nnet3.schedule import Schedule
from kaldi_quant.nnet3.time_access import NoInput, SameTime, Times
from kaldi_quant.units import Frames


def delay_of(graph: Graph, group: Group) -> Frames:
    """The shortest delay of a recurrence.

    Raises:
        ModelError: it reads later frames of itself, or is of a kind that cannot be executed; names the node.
    """
    shifts = set()
    for name in group.nodes:
        if not isinstance(graph.access(name), SameTime | NoInput):
            raise _refused(graph, name, "reads several frames at once within a recurrence")
        for leaf, shift in shifted_leaves(graph.nnet, name):
            if leaf in group.nodes:
                if shift is None:
                    raise _refused(graph, name, "reads its recurrence through Round or ReplaceIndex")
                if shift > 0:
                    raise _refused(graph, name, "depends on later frames of itself")
                shifts.add(-shift)
    return min(shifts - {0})


def _refused(graph: Graph, name: str, why: str) -> ModelError:
    return ModelError(f"{graph.nnet.path}: the node {name} {why}: it cannot be computed chunk by chunk")


@dataclass
class _Part:
    """A node in a stretch of time, and how its rows lie among those that there are; None for behind them."""

    node: str
    module: ComponentModule | None
    source: Expression | None
    length: int
    order: Rows | None = None


class LoopStep(Step):
    """A recurrence in one chunk.

    Args:
        group: its nodes.
        schedule: the times of the rows that there are of all nodes; those of the group are added.
        new: by node the times that are computed.
        modules: the components by name.
        delay: the recurrence's.
    """

    def __init__(
        self,
        group: Group,
        schedule: Schedule,
        new: Mapping[str, Times],
        modules: Mapping[str, ComponentModule],
        delay: Frames,
    ) -> None:
        graph = schedule.graph
        self._parts: list[_Part] = []
        computed = [new[name] for name in group.nodes if len(new[name])]
        first, last = min(int(t[0]) for t in computed), max(int(t[-1]) for t in computed)
        compiler = Compiler(schedule)
        for begin in range(first, last + 1, delay):
            for name in group.nodes:
                times = new[name][(new[name] >= begin) & (new[name] < begin + delay)]
                if not len(times):
                    continue
                part = _part(name, graph, modules, compiler, times)
                together = np.concatenate([schedule.times[name], times])
                order = np.argsort(together)
                if (np.diff(order) != 1).any():
                    part.order = Rows(order)
                self._parts.append(part)
                schedule.times[name] = together[order]

    def run(self, values: Values) -> None:
        for part in self._parts:
            if part.source is None:
                assert isinstance(part.module, ConstantOutput)
                x = part.module(values.batch, part.length)
            else:
                x = part.source.evaluate(values)
                x = x if part.module is None else part.module(x)
            x, kept = values.tapped(part.node, x), values.nodes.get(part.node)
            whole = x if kept is None else torch.cat([kept, x], dim=1)
            values.nodes[part.node] = whole if part.order is None else part.order.of(whole)


def _part(name: str, graph: Graph, modules: Mapping[str, ComponentModule], compiler: Compiler, times: Times) -> _Part:
    node = graph.node(name)
    if isinstance(node, DimRangeNode):
        rows = compiler.node_rows(node.input_node, times)
        return _Part(name, None, Columns(rows, node.dim_offset, node.dim, len(times)), len(times))
    assert isinstance(node, ComponentNode | OutputNode)
    module = modules[node.component] if isinstance(node, ComponentNode) else None
    if isinstance(graph.access(name), NoInput):
        return _Part(name, module, None, len(times))
    return _Part(name, module, compiler.compile(node.input, times), len(times))
