"""Options of how a network computes utterances, as nnet3-compute has them: shared by the verbs that run networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaldi_quant.bad_utterances import check_share
from kaldi_quant.cli.options import allow_pipes_option, check_threads, grouped_options, max_bad_share_option
from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.kaldi.tables import RandomAccessMatrices

if TYPE_CHECKING:
    from kaldi_quant.nnet.inference import InferenceOptions, IvectorSource

_OPTIONS = (
    click.option("--online-ivectors", metavar="RSPECIFIER", help="i-vectors, a matrix for each utterance."),
    click.option("--online-ivector-period", type=int, default=0, help="Frames per row of --online-ivectors."),
    click.option("--ivectors", metavar="RSPECIFIER", help="i-vectors, a vector for each utterance."),
    click.option(
        "--frame-subsampling-factor", type=int, help="Frames per output row; by default what the model's folder says."
    ),
    click.option("--frames-per-chunk", type=int, default=0, help="Cut utterances into pieces; 0 for whole utterances."),
    click.option("--extra-left-context", type=int, default=0, help="Frames before a piece beyond the context."),
    click.option("--extra-right-context", type=int, default=0, help="Frames after a piece beyond the context."),
    click.option("--extra-left-context-initial", type=int, default=-1, help="The same where an utterance begins."),
    click.option("--extra-right-context-final", type=int, default=-1, help="The same where an utterance ends."),
    click.option("--batch-seconds", type=float, default=60.0, help="Speech computed at once."),
    click.option("--num-threads", type=int, default=0, help="CPU threads; 0 for torch's own choice."),
    max_bad_share_option(),
    allow_pipes_option(),
)


@dataclass(frozen=True)
class InferenceArguments:
    """The values of these options."""

    online_ivectors: str | None
    online_ivector_period: int
    ivectors: str | None
    frame_subsampling_factor: int | None
    frames_per_chunk: int
    extra_left_context: int
    extra_right_context: int
    extra_left_context_initial: int
    extra_right_context_final: int
    batch_seconds: float
    num_threads: int
    max_bad_share: float
    allow_pipes: bool

    def __post_init__(self) -> None:
        """Refuses impossible values before anything is read.

        Raises:
            UsageError: there is one.
        """
        self.options(1)
        check_share(self.max_bad_share)
        check_threads(self.num_threads)
        if self.ivectors is not None and self.online_ivectors is not None:
            raise UsageError("--ivectors and --online-ivectors exclude each other")

    def set_threads(self) -> None:
        """Sets the number of CPU threads: to be called before a model is read."""
        import torch

        if self.num_threads > 0:
            torch.set_num_threads(self.num_threads)

    def options(self, subsampling: int, acoustic_scale: float = 1.0) -> InferenceOptions:
        """How utterances are computed; ``subsampling`` is the model's own, which the option replaces."""
        from kaldi_quant.nnet.chunks import ChunkOptions
        from kaldi_quant.nnet.inference import InferenceOptions

        chunks = ChunkOptions(
            subsampling if self.frame_subsampling_factor is None else self.frame_subsampling_factor,
            self.frames_per_chunk,
            self.extra_left_context,
            self.extra_right_context,
            self.extra_left_context_initial,
            self.extra_right_context_final,
        )
        return InferenceOptions(chunks, self.online_ivector_period, acoustic_scale, self.batch_seconds)

    def ivector_source(self) -> IvectorSource | None:
        """Tells an utterance's i-vectors, where they are given."""
        specifier = self.ivectors or self.online_ivectors
        if specifier is None:
            return None
        table = RandomAccessMatrices(specifier, self.allow_pipes)
        return lambda utterance: table.get(utterance) if utterance in table else None


#: Decorator: the verb gets these options, and their values as its argument ``inference``.
inference_options = grouped_options("inference", InferenceArguments, _OPTIONS)


def subsampling_of(model: str) -> int:
    """The frame-subsampling factor that stands in a model's folder; 1 where there is none, as in Kaldi.

    Raises:
        FormatError: the file does not hold a positive number.
    """
    path = Path(model).parent / "frame_subsampling_factor"
    if not path.exists():
        return 1
    text = path.read_text(errors="replace").strip()
    if not text.isdecimal() or not 0 < int(text) < 1000:
        raise FormatError(str(path), None, f"expected a frame-subsampling factor such as 3, found {text[:40]!r}")
    return int(text)
