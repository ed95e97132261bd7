"""All that a recogniser needs of a model, in memory; recognisers share it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
from kaldi_quant.kaldi.mfcc_options import MfccOptions
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.vosk_folder import RecogniserOptions
from kaldi_quant.kaldi.word_boundary import WordBoundary
from kaldi_quant.recogniser.network import StreamingNetwork
from kaldi_quant.recogniser.search import DecodingGraph


@dataclass(frozen=True, eq=False)
class Model:
    """A model of speech with all that belongs to it.

    Args:
        mfcc_options: what its features are.
        network: in float or in integers, ready for streams; its subsampling is that of ``options``.
        transitions: the transition model.
        graph: ``HCLG.fst``.
        words: the symbol table, word by number.
        options: how it decodes.
        word_boundary: where in words phones stand; None where that is not known, so that times are not exact.
        extraction: the extractor of the network's i-vectors, with its options as they are to be used; None without.
        global_cmvn: (2, dim + 1) float64, for features that are normalised online.
    """

    mfcc_options: MfccOptions
    network: StreamingNetwork
    transitions: TransitionModel
    graph: Path
    words: dict[int, str]
    options: RecogniserOptions = field(default_factory=RecogniserOptions)
    word_boundary: WordBoundary | None = None
    extraction: ExtractionInfo | None = None
    global_cmvn: np.ndarray | None = None

    @cached_property
    def decoding_graph(self) -> DecodingGraph:
        """The graph, which is loaded and checked when it is wanted first.

        Raises:
            FormatError: the file is missing or malformed.
            DataError: it was made for another transition model or another ``words.txt``.
        """
        return DecodingGraph.load(self.graph, self.transitions, self.words)
