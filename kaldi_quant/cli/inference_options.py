"""Options of how a network computes utterances, as nnet3-compute has them: shared by the verbs that run networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaldi_quant.bad_utterances import check_share
from kaldi_quant.cli.feature_options import FEATURE_OPTIONS, feature_pipeline
from kaldi_quant.cli.options import (
    allow_pipes_option,
    frame_subsampling_option,
    grouped_options,
    max_bad_share_option,
    num_threads_option,
    set_threads,
)
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.features.speakers import file_of, read_utt2spk
from kaldi_quant.kaldi.ivector_folder import check_ivector_table
from kaldi_quant.kaldi.ivectors.extracted import ExtractedIvectors
from kaldi_quant.kaldi.tables import OnBad, RandomAccessMatrices, read_matrices, thinned
from kaldi_quant.kaldi.vosk_folder import extraction_at
from kaldi_quant.units import Frames

if TYPE_CHECKING:
    import numpy as np

    from kaldi_quant.kaldi.features.kinds import FeatureKind
    from kaldi_quant.kaldi.features.pipeline import Pipeline
    from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
    from kaldi_quant.nnet3.inference_options import InferenceOptions
    from kaldi_quant.nnet3.ivectors_in_time import IvectorSource

_OPTIONS = (
    click.option("--online-ivectors", metavar="RSPECIFIER", help="i-vectors, a matrix for each utterance."),
    click.option("--online-ivector-period", type=int, default=0, help="Frames per row of --online-ivectors."),
    click.option("--ivectors", metavar="RSPECIFIER", help="i-vectors, a vector for each utterance, or speaker."),
    click.option(
        "--ivector-extractor",
        metavar="CONF",
        help="Extracts online i-vectors from the features: ivector_extractor.conf, or a folder. Each utterance is for "
        "itself without --utt2spk.",
    ),
    click.option(
        "--utt2spk",
        metavar="RSPECIFIER",
        help="The speaker of each utterance, for --ivectors and normalisation; for the latter, by default, utt2spk "
        "beside the features.",
    ),
    frame_subsampling_option(),
    click.option("--frames-per-chunk", type=int, default=0, help="Cut utterances into pieces; 0 for whole utterances."),
    click.option("--extra-left-context", type=int, default=0, help="Frames before a piece beyond the context."),
    click.option("--extra-right-context", type=int, default=0, help="Frames after a piece beyond the context."),
    click.option("--extra-left-context-initial", type=int, default=-1, help="The same where an utterance begins."),
    click.option("--extra-right-context-final", type=int, default=-1, help="The same where an utterance ends."),
    click.option("--batch-seconds", type=float, default=60.0, help="Speech computed at once."),
    num_threads_option(),
    *FEATURE_OPTIONS,
    max_bad_share_option(),
    allow_pipes_option(),
)


@dataclass(frozen=True)
class InferenceArguments:
    """The values of these options."""

    online_ivectors: str | None
    online_ivector_period: int
    ivectors: str | None
    ivector_extractor: str | None
    utt2spk: str | None
    frame_subsampling_factor: int | None
    frames_per_chunk: int
    extra_left_context: int
    extra_right_context: int
    extra_left_context_initial: int
    extra_right_context_final: int
    batch_seconds: float
    num_threads: int
    cmvn: str | None
    cmvn_opts: str | None
    online_cmvn: bool | None
    global_cmvn_stats: str | None
    ignore_cmvn: bool
    feat_type: FeatureKind | None
    transforms: str | None
    max_bad_share: float
    allow_pipes: bool

    def __post_init__(self) -> None:
        """Refuses impossible values before anything is read.

        Raises:
            UsageError: there is one.
        """
        self._with_period(self.online_ivector_period, 1)
        check_share(self.max_bad_share)
        tables = [self.ivectors, self.online_ivectors, self.ivector_extractor]
        if len(tables) - tables.count(None) > 1:
            raise UsageError("--ivectors, --online-ivectors and --ivector-extractor exclude each other")
        if self.online_ivector_period and self.online_ivectors is None:
            raise UsageError("--online-ivector-period has no effect without --online-ivectors")

    def set_threads(self) -> None:
        """Sets the number of CPU threads: to be called before a model is read."""
        set_threads(self.num_threads)

    def options(self, subsampling: int, acoustic_scale: float = 1.0) -> InferenceOptions:
        """How utterances are computed; ``subsampling`` is the frame-subsampling factor, found or given."""
        extraction = self._extraction
        period = self.online_ivector_period if extraction is None else extraction.options.ivector_period
        return self._with_period(period, subsampling, acoustic_scale)

    def _with_period(self, period: Frames, subsampling: int, acoustic_scale: float = 1.0) -> InferenceOptions:
        from kaldi_quant.nnet3.chunks import ChunkOptions
        from kaldi_quant.nnet3.inference_options import InferenceOptions

        chunks = ChunkOptions(
            subsampling,
            self.frames_per_chunk,
            self.extra_left_context,
            self.extra_right_context,
            self.extra_left_context_initial,
            self.extra_right_context_final,
        )
        return InferenceOptions(chunks, period, acoustic_scale, self.batch_seconds)

    @cached_property
    def _extraction(self) -> ExtractionInfo | None:
        return None if self.ivector_extractor is None else extraction_at(Path(self.ivector_extractor))

    @cached_property
    def _extracted(self) -> ExtractedIvectors | None:
        return None if self._extraction is None else ExtractedIvectors(self._extraction, self.speakers())

    def features(self, model: str, rspecifier: str) -> Pipeline:
        """What is done to the features of a table before a model takes them; arguments as for ``read_features``."""
        return feature_pipeline(model, rspecifier, self)

    def read_features(
        self, model: str, rspecifier: str, on_bad: OnBad | None = None, most: int = 0
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Reads a table of features and makes them what a model takes: normalised, for example, as its folder says.

        Args:
            model: its file, whose folder, or whose record, says what it takes.
            rspecifier: of the features.
            on_bad: is called for each utterance that cannot be used, which is then left out; None makes it an error.
            most: how many are read at most, evenly chosen; 0 for all.

        Returns:
            (utterance, features) pairs, features: (frames, dim) float32.

        Raises:
            UsageError: the model wants something that is missing; at once, before anything is computed.
            FormatError: a file is malformed.
            DataError: an utterance cannot be used, when its turn comes.
        """
        pipeline = self.features(model, rspecifier)
        thin_first = pipeline.is_by_utterance
        table = read_matrices(rspecifier, self.allow_pipes, on_bad, most if thin_first else 0)
        if self._extracted is not None:
            table = self._extracted.hearing(table, on_bad)
        utterances = pipeline.apply(table, on_bad)
        return thinned(utterances, most) if most and not thin_first else utterances

    def ivector_source(self, model: Companions) -> IvectorSource | None:
        """Tells an utterance's i-vectors, where they are given.

        Args:
            model: what lies beside the model, for the extractor that it was trained with.

        Raises:
            DataError: they are of another extractor.
        """
        if self._extracted is not None:
            return self._extracted.find
        specifier = self.ivectors or self.online_ivectors
        if specifier is None:
            return None
        check_ivector_table(model.ivector_id, model.source, specifier)
        table = RandomAccessMatrices(specifier, self.allow_pipes)
        # As in Kaldi, online i-vectors belong to utterances in any case.
        speakers = self.speakers() if self.ivectors is not None else None

        def find(utterance: str) -> np.ndarray | None:
            key = utterance
            if speakers is not None:
                if utterance not in speakers:
                    raise DataError(f"it has no speaker in {self.utt2spk}")
                key = speakers[utterance]
                if key not in table:
                    raise DataError(f"its speaker {key} has no i-vector in {specifier}")
            return table.get(key) if key in table else None

        return find

    def speakers(self) -> dict[str, str] | None:
        """The speaker of each utterance, where they are given."""
        return read_utt2spk(file_of(self.utt2spk)) if self.utt2spk else None


#: Decorator: the verb gets these options, and their values as its argument ``inference``.
inference_options = grouped_options("inference", InferenceArguments, _OPTIONS)
