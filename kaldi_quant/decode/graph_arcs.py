"""A decoding graph as arrays: of each state the arcs that take a frame, and those that take none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.fst import Fst
from kaldi_quant.kaldi.transition_model import TransitionModel


@dataclass(frozen=True, eq=False)
class ArcsOfStates:
    """Some arcs of each state.

    Args:
        offsets: (states + 1,) int64: those of state s are ``arcs[offsets[s]:offsets[s + 1]]``.
        arcs: (n,) int64, their numbers in the graph.
    """

    offsets: np.ndarray
    arcs: np.ndarray

    def leaving(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The arcs that leave states, and for each of them the place in ``states`` of the one that it leaves."""
        begin = self.offsets[states]
        counts = self.offsets[states + 1] - begin
        ends = np.cumsum(counts)
        sources = np.repeat(np.arange(len(states)), counts)
        places = np.arange(len(sources)) + (begin - ends + counts)[sources]
        return self.arcs[places], sources


class GraphArcs:
    """A decoding graph.

    Args:
        graph: whose input labels are transition-ids.
        transitions: the transition model.

    Attributes:
        start: the start state.
        final: (states,) float64, the cost of ending in each; inf where it is not final.
        pdf: (arcs,) int32, the column of log-likelihoods that an arc takes; of those that take none it has no meaning.
        ilabel, olabel, target: (arcs,) int32.
        weight: (arcs,) float64.
        emitting, epsilon: the arcs that take a frame, and those that take none.
    """

    def __init__(self, graph: Fst, transitions: TransitionModel) -> None:
        self.start = graph.start
        self.final = graph.final.astype(np.float64)
        self.ilabel, self.olabel, self.target = (
            np.ascontiguousarray(graph.arcs[name]) for name in ("ilabel", "olabel", "nextstate")
        )
        self.weight = graph.arcs["weight"].astype(np.float64)
        self.pdf = transitions.transition_id_to_pdf[self.ilabel]
        takes = self.ilabel != 0
        self.emitting, self.epsilon = (_those(graph.arc_offsets, which) for which in (takes, ~takes))

    @property
    def num_states(self) -> int:
        """The number of states."""
        return len(self.final)


def _those(offsets: np.ndarray, which: np.ndarray) -> ArcsOfStates:
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(which)])
    return ArcsOfStates(counts[offsets], np.flatnonzero(which))
