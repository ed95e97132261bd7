"""The search for words while log-likelihoods come in, a few frames at a time."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.decode.checks import check_graph
from kaldi_quant.decode.determinize import determinize
from kaldi_quant.decode.graph_arcs import GraphArcs
from kaldi_quant.decode.lattice_search import LatticeSearch, SearchOptions
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst_file import FstFile, read_fst
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.vosk_folder import RecogniserOptions
from kaldi_quant.units import Frames

# Limits the work on a lattice, as Vosk's limit on memory does: noise leaves lattices without end.
_MOST_MEMBERS = 200_000


@dataclass(frozen=True, eq=False)
class DecodingGraph:
    """A graph in memory with the transition model that it was made for; searches share it.

    Args:
        arcs: of the graph.
        transitions: the transition model.
    """

    arcs: GraphArcs
    transitions: TransitionModel

    @classmethod
    def load(cls, path: Path, transitions: TransitionModel, words: dict[int, str]) -> DecodingGraph:
        """Loads and checks an ``HCLG.fst``.

        Raises:
            FormatError: the file is missing or malformed.
            DataError: it was made for another transition model or another ``words.txt``.
        """
        check_graph(FstFile(str(path)), str(path), transitions, "the model", words, "words.txt")
        return cls(GraphArcs(read_fst(path), transitions), transitions)


@dataclass(frozen=True)
class BestPath:
    """The best path through the graph so far.

    Attributes:
        transition_ids: one for each frame.
        words: their numbers.
    """

    transition_ids: list[int]
    words: list[int]


class Search:
    """The search of one utterance. Memory grows with the utterance, by what the beams leave of paths.

    Args:
        graph: where to search.
        options: beams, limits on active states, and the acoustic scale.
        silence: phones of silence.

    Example:
        >>> search = Search(graph, options, options.endpoint.silence())
        >>> for block in blocks:
        ...     search.accept(block)
        >>> words_of(search.lattice(), graph.transitions, boundary)
    """

    def __init__(self, graph: DecodingGraph, options: RecogniserOptions, silence: Set[int] = frozenset()) -> None:
        self._graph, self._options = graph, options
        self._is_silence = np.isin(graph.transitions.transition_id_to_phone, sorted(silence))
        self._search = LatticeSearch(
            graph.arcs, SearchOptions(options.beam, options.lattice_beam, options.max_active, options.min_active)
        )
        self._best: BestPath | None = None

    @property
    def frames(self) -> Frames:
        """Frames of log-likelihoods that were taken."""
        return self._search.frames

    def accept(self, loglikes: np.ndarray) -> None:
        """Takes the next frames.

        Args:
            loglikes: (frames, pdfs) float32, not scaled.

        Raises:
            DataError: they are another model's, or not finite.
        """
        pdfs = self._graph.transitions.num_pdfs
        if loglikes.ndim != 2 or loglikes.shape[1] != pdfs:
            raise DataError(
                f"log-likelihoods have the shape {loglikes.shape} but the transition model has {pdfs} pdfs: they were "
                "computed with another model"
            )
        if not np.isfinite(loglikes).all():
            raise DataError("log-likelihoods are not all finite numbers: the model or its input is broken")
        self._search.accept(loglikes.astype(np.float32, copy=False) * np.float32(self._options.acoustic_scale))
        self._best = None

    def best_path(self) -> BestPath:
        """The best path so far, whether or not it may end here; an empty one where none survives the beam."""
        if self._best is None:
            transition_ids, words, _ = self._search.best_path()
            self._best = BestPath(transition_ids, words)
        return self._best

    def trailing_silence(self) -> Frames:
        """Frames of silence with which the best path ends."""
        transition_ids = self.best_path().transition_ids
        speech = np.flatnonzero(~self._is_silence[np.array(transition_ids, np.int64)])
        return len(transition_ids) - (int(speech[-1]) + 1 if len(speech) else 0)

    def relative_cost(self) -> float:
        """What the best path that may end here costs more than the best path; infinite where none may."""
        return self._search.relative_cost()

    def lattice(self, use_final_probs: bool = True) -> CompactLattice:
        """The determinized lattice of all frames so far, with acoustic costs as scaled.

        The beam is narrower where there are very many paths, as in noise.

        Args:
            use_final_probs: whether only paths that may end here are wanted, if there are any; else each counts as one
                that may, at no cost.

        Raises:
            DataError: no path survives the beam.
        """
        return determinize(self._search.lattice(use_final_probs), self._options.lattice_beam, _MOST_MEMBERS)
