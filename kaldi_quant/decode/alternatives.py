"""The best paths of a lattice as texts of words.

Source: ``Recognizer::NbestResult`` in Vosk's ``src/recognizer.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.decode.minimum_bayes_risk import GRAPH_SCALE, Word, scale_graph_costs
from kaldi_quant.decode.nbest import Path, best_paths
from kaldi_quant.decode.word_alignment import WordAligner
from kaldi_quant.kaldi.lattice import CompactLattice, assemble
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.word_boundary import WordBoundary


@dataclass(frozen=True)
class Alternative:
    """What may have been said.

    Attributes:
        words: the confidence of each is 1: it is not known.
        confidence: the negative cost of the path, a number without bounds.
    """

    words: list[Word]
    confidence: float


def alternatives_of(
    lattice: CompactLattice,
    transitions: TransitionModel,
    boundary: WordBoundary | None,
    number: int,
    graph_scale: float = GRAPH_SCALE,
) -> list[Alternative]:
    """The best paths of a determinized lattice, the best first.

    Args:
        lattice: its acoustic costs scaled as they were decoded with.
        transitions: the transition model.
        boundary: where in words phones stand; None where that is not known: times are not exact then.
        number: of alternatives, at most.
        graph_scale: what graph costs are multiplied by.

    Raises:
        DataError: the lattice has a cycle, or the boundary lacks a phone of the model.
    """
    aligner = WordAligner(transitions, boundary) if boundary else None
    found = []
    for path in best_paths(scale_graph_costs(lattice, graph_scale), number):
        chain = _chain(path)
        found.append(Alternative(_words(aligner.align(chain) if aligner else chain), -path.cost))
    return found


def _chain(path: Path) -> CompactLattice:
    """The lattice with just one path."""
    states = len(path.words) + 1
    return assemble(
        0,
        [(np.inf, np.inf)] * (states - 1) + [(0.0, 0.0)],
        [np.zeros(0, np.int32)] * (states - 1) + path.strings[-1:],
        [*range(states), states - 1],
        path.words,
        [(0.0, 0.0)] * (states - 1),
        list(range(1, states)),
        path.strings[:-1],
    )


def _words(chain: CompactLattice) -> list[Word]:
    ends = np.cumsum([0] + [len(string) for string in chain.strings]).tolist()
    return [
        Word(word, begin, end, 1.0)
        for word, begin, end in zip(chain.word.tolist(), ends[:-1], ends[1:], strict=True)
        if word
    ]
