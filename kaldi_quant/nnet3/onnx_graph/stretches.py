"""At which times each node is computed, for any number of outputs: a graph with a dynamic time axis needs no others.

Outputs are ``period`` frames apart. Every node is computed at one or more arithmetic progressions of times, each of
which grows with the number of outputs, and begins and ends at a constant distance from the first and last output.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import (
    Const,
    Descriptor,
    Failover,
    IfDefined,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Switch,
)
from kaldi_quant.kaldi.nnet import DimRangeNode
from kaldi_quant.nnet3.graph import Graph
from kaldi_quant.nnet3.time_access import NoInput, SameTime, TimeOffsets
from kaldi_quant.units import Frames


@dataclass(frozen=True)
class Stretch:
    """The times first, first + step, … up to ``last`` frames after the last output.

    Args:
        first: relative to the first output.
        step: a divisor of the period.
        last: relative to the last output.
    """

    first: Frames
    step: Frames
    last: Frames

    def shifted(self, frames: Frames) -> Stretch:
        """The same times, all later by so many frames."""
        return Stretch(self.first + frames, self.step, self.last + frames)

    def length(self, outputs: int, period: Frames) -> int:
        """How many times there are with so many outputs."""
        return ((outputs - 1) * period + self.last - self.first) // self.step + 1

    def contains(self, other: Stretch) -> bool:
        """Whether the other's times are among these, however many outputs there are."""
        inside = self.first <= other.first and other.last <= self.last
        return inside and other.step % self.step == 0 and (other.first - self.first) % self.step == 0


def source_of(descriptor: Descriptor, stretch: Stretch) -> tuple[Descriptor, Stretch]:
    """What a descriptor that only chooses rows reads, and when; other descriptors as they are.

    Raises:
        ModelError: which rows they are is no arithmetic progression.
    """
    match descriptor:
        case Offset(source, shift):
            return source_of(source, stretch.shifted(shift))
        case Round(source, modulus):
            if stretch.step % modulus:
                raise ModelError(f"{descriptor} repeats rows")
            return source_of(source, stretch.shifted(-(stretch.first % modulus)))
        case Switch(parts):
            if stretch.step % len(parts):
                raise ModelError(f"{descriptor} alternates between its parts")
            return source_of(parts[stretch.first % len(parts)], stretch)
        case IfDefined() | Failover():
            raise ModelError(f"{descriptor} depends on where the input ends")
    return descriptor, stretch


def is_constant_row(descriptor: Descriptor) -> bool:
    """Whether a descriptor is the i-vector, one row for all times."""
    if not isinstance(descriptor, ReplaceIndex):
        return False
    return [leaf.node for leaf in descriptor.leaves()] == ["ivector"]


class TimePlan:
    """The stretches of every node.

    Args:
        graph: the network.
        period: frames between outputs.
        whole: nodes that are to be computed at one stretch, even if some times in it are not needed.
        ivector_rows: whether there is an i-vector for each frame, and not one for all.

    Attributes:
        stretches: for each node that is there; the i-vector has none if it is one for all frames.
        computed: for each of them what of it is computed: all.

    Raises:
        ModelError: some node is not computed at arithmetic progressions of times; says which and why.
    """

    def __init__(self, graph: Graph, period: Frames, whole: Collection[str] = (), ivector_rows: bool = False) -> None:
        self.graph = graph
        self._ivector_rows = ivector_rows
        self._whole = whole
        self.period = period
        self.stretches: dict[str, tuple[Stretch, ...]] = {}
        self.computed: dict[str, tuple[Stretch, ...]] = {}
        #: For each node, by its residue modulo the period, the first and last time that is needed.
        self._needed: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in graph.names}
        if graph.has_optional_inputs:
            raise ModelError(f"{graph.nnet.path}: its values depend on where the input begins and ends")
        self._need(graph.output, Stretch(0, period, 0))
        for group in reversed(graph.groups):
            name = group.nodes[0]
            if group.recurrent:
                raise ModelError(f"{graph.nnet.path}: the node {name} depends on itself at other times")
            try:
                self._settle(name)
            except ModelError as error:
                raise ModelError(f"{graph.nnet.path}: the input of the node {name} is irregular: {error}") from error
        for name in graph.inputs:
            if self._needed[name]:
                firsts, lasts = zip(*self._needed[name].values(), strict=True)
                self._arrange(name, (Stretch(min(firsts), 1, max(lasts)),))

    def _arrange(self, name: str, stretches: tuple[Stretch, ...]) -> None:
        """A node is wanted at some stretches."""
        self.stretches[name] = self.computed[name] = stretches

    def _need(self, name: str, stretch: Stretch) -> None:
        needed = self._needed[name]
        for first in range(stretch.first, stretch.first + self.period, stretch.step):
            residue = first % self.period
            last = stretch.last - (stretch.last - first) % self.period
            before = needed.get(residue, (first, last))
            needed[residue] = (min(first, before[0]), max(last, before[1]))

    def _settle(self, name: str) -> None:
        self._arrange(name, self._merged(self._needed[name], name in self._whole))
        node = self.graph.node(name)
        for stretch in self.computed[name]:
            if isinstance(node, DimRangeNode):
                self._need(node.input_node, stretch)
                continue
            match self.graph.access(name):
                case NoInput():
                    continue
                case TimeOffsets(offsets):
                    shifts = offsets
                case SameTime():
                    shifts = (0,)
                case _:
                    raise ModelError("it sums over a range of times")
            for shift in shifts:
                self._demand(node.input, stretch.shifted(shift))  # type: ignore[union-attr]

    def _merged(self, needed: dict[int, tuple[int, int]], whole: bool) -> tuple[Stretch, ...]:
        """One stretch where the residues are evenly spaced, else one for each: nothing is computed in vain."""
        residues = sorted(needed)
        step = math.gcd(self.period, *(residue - residues[0] for residue in residues))
        nonempty = all(last >= first for first, last in needed.values())
        if whole or len(residues) == self.period // step or not nonempty:
            firsts, lasts = zip(*needed.values(), strict=True)
            return (Stretch(min(firsts), step, max(lasts)),)
        return tuple(Stretch(first, self.period, last) for first, last in needed.values())

    def _demand(self, descriptor: Descriptor, stretch: Stretch) -> None:
        descriptor, stretch = source_of(descriptor, stretch)
        if is_constant_row(descriptor) or isinstance(descriptor, Const):
            return
        if isinstance(descriptor, NodeName) and (descriptor.node != "ivector" or self._ivector_rows):
            self._need(descriptor.node, stretch)
            return
        if isinstance(descriptor, ReplaceIndex | NodeName):
            raise ModelError(f"{descriptor} reads one row of many times, or many of one")
        for source in descriptor.sources():
            self._demand(source, stretch)


class ChunkPlan(TimePlan):
    """The stretches of a graph that computes one chunk, and keeps for the next one what that needs again.

    Outputs of the next chunk follow those of this one. What a node is needed at lies partly in the chunks before;
    ``computed`` is the rest, one period of it for each output.
    """

    def _arrange(self, name: str, stretches: tuple[Stretch, ...]) -> None:
        firsts = [stretch.last - self.period + stretch.step for stretch in stretches]
        pairs = list(zip(firsts, stretches, strict=True))
        # A chunk follows the one before without a gap, even if nothing reads what is between them.
        self.stretches[name] = tuple(replace(each, first=min(first, each.first)) for first, each in pairs)
        self.computed[name] = tuple(replace(each, first=first) for first, each in pairs)
