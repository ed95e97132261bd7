"""The search for words while log-likelihoods come in, a few frames at a time.

What is known so far, and when an utterance has ended, comes from a search for one path that goes on with every frame.
The lattice of an utterance comes from a second search over its log-likelihoods, which are kept for it. Both are
Kaldi's, of the wheel kaldi-decoder.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kaldi_decoder
import kaldifst
import numpy as np

from kaldi_quant.decode.checks import check_graph
from kaldi_quant.decode.determinize import determinize
from kaldi_quant.decode.embedded_decoder import raw_lattice
from kaldi_quant.decode.graph import load_graph
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst_file import FstFile
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.vosk_folder import RecogniserOptions
from kaldi_quant.units import Frames


@dataclass(frozen=True, eq=False)
class DecodingGraph:
    """A graph in memory with the transition model that it was made for; searches share it.

    Args:
        fst: as ``decode.graph.load_graph`` gives it.
        transitions: the transition model.
    """

    fst: Any
    transitions: TransitionModel

    @classmethod
    def load(cls, path: Path, transitions: TransitionModel, words: dict[int, str]) -> DecodingGraph:
        """Loads and checks an ``HCLG.fst``.

        Raises:
            FormatError: the file is missing or malformed.
            DataError: it was made for another transition model or another ``words.txt``.
        """
        check_graph(FstFile(str(path)), str(path), transitions, "the model", words, "words.txt")
        return cls(load_graph(str(path)), transitions)


@dataclass(frozen=True)
class BestPath:
    """The best path through the graph so far.

    Attributes:
        transition_ids: one for each frame.
        words: their numbers.
        cost: graph and acoustic cost.
    """

    transition_ids: list[int]
    words: list[int]
    cost: float


class Search:
    """The search of one utterance.

    Memory grows with the utterance, by its log-likelihoods and what the beam leaves of paths.

    Args:
        graph: where to search.
        options: beams and the acoustic scale; the lattice goes by the beams alone, without limits on active states.
        silence: phones of silence.

    Example:
        >>> search = Search(graph, options, options.endpoint.silence())
        >>> for block in blocks:
        ...     search.accept(block)
        >>> words_of(search.lattice(), graph.transitions, boundary)
    """

    def __init__(self, graph: DecodingGraph, options: RecogniserOptions, silence: Set[int] = frozenset()) -> None:
        self._graph, self._options = graph, options
        transitions = graph.transitions
        self._columns = transitions.transition_id_to_pdf[1:]
        self._is_silence = np.isin(transitions.transition_id_to_phone, sorted(silence))
        self._decoder = kaldi_decoder.FasterDecoder(
            graph.fst,
            kaldi_decoder.FasterDecoderOptions(
                beam=options.beam, max_active=options.max_active, min_active=options.min_active
            ),
        )
        self._decoder.init_decoding()
        self._kept: list[np.ndarray] = []
        self._best: BestPath | None = None
        self.frames: Frames = 0

    def accept(self, loglikes: np.ndarray) -> None:
        """Takes the next frames.

        Args:
            loglikes: (frames, pdfs) float32, not scaled.

        Raises:
            DataError: they are another model's, or not finite.
        """
        if loglikes.ndim != 2 or loglikes.shape[1] != self._graph.transitions.num_pdfs:
            raise DataError(
                f"log-likelihoods have the shape {loglikes.shape} but the transition model has "
                f"{self._graph.transitions.num_pdfs} pdfs: they were computed with another model"
            )
        if not np.isfinite(loglikes).all():
            raise DataError("log-likelihoods are not all finite numbers: the model or its input is broken")
        if not len(loglikes):
            return
        scaled = loglikes.astype(np.float32) * np.float32(self._options.acoustic_scale)
        self._kept.append(scaled)
        # DecodableCtc takes column i - 1 for input label i.
        scores = np.ascontiguousarray(scaled[:, self._columns])
        self._decoder.advance_decoding(kaldi_decoder.DecodableCtc(scores, offset=self.frames))
        self.frames += len(scaled)
        self._best = None

    def best_path(self) -> BestPath:
        """The best path so far, whether or not it may end here; an empty one where none survives the beam."""
        if self._best is None:
            self._best = self._path(use_final_probs=False)
        return self._best

    def _path(self, use_final_probs: bool) -> BestPath:
        if not self.frames:
            return BestPath([], [], math.inf)
        done, path = self._decoder.get_best_path(use_final_probs)
        if not done:
            return BestPath([], [], math.inf)
        _, transition_ids, words, weight = kaldifst.get_linear_symbol_sequence(path)
        return BestPath(transition_ids, words, weight.value1 + weight.value2)

    def trailing_silence(self) -> Frames:
        """Frames of silence with which the best path ends."""
        transition_ids = self.best_path().transition_ids
        speech = np.flatnonzero(~self._is_silence[np.array(transition_ids, np.int64)])
        return len(transition_ids) - (int(speech[-1]) + 1 if len(speech) else 0)

    def relative_cost(self) -> float:
        """What the best path that may end here costs more than the best path; infinite where none may."""
        if not self.frames or not self._decoder.reached_final():
            return math.inf
        return max(self._path(use_final_probs=True).cost - self.best_path().cost, 0.0)

    def lattice(self, use_final_probs: bool = True) -> CompactLattice:
        """The determinized lattice of all frames so far, with acoustic costs as scaled.

        Args:
            use_final_probs: whether only paths that may end here are wanted, if there are any; else each counts as one
                that may, at no cost.

        Raises:
            DataError: there are no frames, or no path survives the beam.
        """
        if not self._kept:
            raise DataError("an utterance without frames has no lattice")
        self._kept = [np.concatenate(self._kept)]
        options = self._options
        config = kaldi_decoder.LatticeSimpleDecoderConfig(beam=options.beam, lattice_beam=options.lattice_beam)
        with tempfile.TemporaryDirectory(prefix="kaldi_quant.") as folder:
            scores, file = self._kept[0][:, self._columns], Path(folder) / "raw.fst"
            raw, _ = raw_lattice(self._graph.fst, config, scores, file, use_final_probs)
        return determinize(raw, options.lattice_beam)
