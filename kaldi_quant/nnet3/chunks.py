"""Utterances cut into pieces that a network computes, as nnet3-compute cuts them.

Source: ``DecodableNnetSimple`` in ``src/nnet3/nnet-am-decodable-simple.cc``. A piece's times are counted from its own
first output frame, so that equal pieces of different utterances are one request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.units import Frames

if TYPE_CHECKING:
    from kaldi_quant.nnet3.context import Context

# 17 minutes; every frame of it is computed.
_LONGEST_EXTRA_CONTEXT = 100_000


@dataclass(frozen=True)
class ChunkOptions:
    """How utterances are cut; names and meanings are nnet3-compute's.

    Args:
        frame_subsampling_factor: the output is computed at every so many-th frame.
        frames_per_chunk: input frames per piece; 0 for whole utterances. Rounded up to a multiple of the subsampling
            factor and the network's modulus.
        extra_left_context: frames before a piece beyond the network's own left context.
        extra_right_context: frames after a piece likewise.
        extra_left_context_initial: the same for an utterance's first piece; negative for no difference.
        extra_right_context_final: the same for its last piece.
    """

    frame_subsampling_factor: int = 1
    frames_per_chunk: Frames = 0
    extra_left_context: Frames = 0
    extra_right_context: Frames = 0
    extra_left_context_initial: int = -1
    extra_right_context_final: int = -1

    def __post_init__(self) -> None:
        if self.frame_subsampling_factor < 1 or self.frames_per_chunk < 0:
            raise UsageError(
                f"--frame-subsampling-factor must be at least 1 and --frames-per-chunk at least 0, not "
                f"{self.frame_subsampling_factor} and {self.frames_per_chunk}"
            )
        if self.extra_left_context < 0 or self.extra_right_context < 0:
            raise UsageError(
                f"--extra-left-context and --extra-right-context cannot be negative, as "
                f"{self.extra_left_context} and {self.extra_right_context} are"
            )
        extra = max(self.extra_left_context, self.extra_right_context)
        extra = max(extra, self.extra_left_context_initial, self.extra_right_context_final)
        if extra > _LONGEST_EXTRA_CONTEXT:
            raise UsageError(f"extra context of {extra} frames is more than any model uses: {_LONGEST_EXTRA_CONTEXT}")


@dataclass(frozen=True)
class Chunk:
    """A piece of an utterance.

    Args:
        first_output: its first output row, counted in output rows of the utterance.
        num_outputs: its output rows.
        span: the first and one past the last input frame, counted from its first output frame.
        subsampling: frames between output rows.
    """

    first_output: int
    num_outputs: int
    span: tuple[int, int]
    subsampling: int

    @property
    def first_frame(self) -> Frames:
        """The utterance's frame that is this piece's time 0."""
        return self.first_output * self.subsampling

    @property
    def output_times(self) -> np.ndarray:
        """(num_outputs,) int64: the times of its outputs."""
        return np.arange(self.num_outputs, dtype=np.int64) * self.subsampling

    def frames(self, num_frames: Frames, span: tuple[int, int] | None = None) -> np.ndarray:
        """(span,) int64: the utterance's frames that are its input; the first and last one are repeated.

        Args:
            num_frames: of the utterance.
            span: instead of its own, such as the span of a whole batch.
        """
        return np.clip(np.arange(*(span or self.span)) + self.first_frame, 0, num_frames - 1)

    @property
    def middle(self) -> Frames:
        """The utterance's frame in its middle."""
        return self.first_frame + (self.num_outputs - 1) * self.subsampling // 2


def cut(num_frames: Frames, context: Context, options: ChunkOptions) -> list[Chunk]:
    """Cuts an utterance of ``num_frames`` frames; its ceil(num_frames / subsampling) output rows are shared out."""
    factor = options.frame_subsampling_factor
    rows = -(-num_frames // factor)
    unit = math.lcm(factor, context.modulus)
    rows_per_chunk = -(-(options.frames_per_chunk or num_frames) // unit) * unit // factor
    chunks = []
    for first in range(0, rows, rows_per_chunk):
        number = min(rows_per_chunk, rows - first)
        left, right = options.extra_left_context, options.extra_right_context
        if first == 0 and options.extra_left_context_initial >= 0:
            left = options.extra_left_context_initial
        if first + number == rows and options.extra_right_context_final >= 0:
            right = options.extra_right_context_final
        span = (-context.left - left, (number - 1) * factor + context.right + right + 1)
        chunks.append(Chunk(first, number, span, factor))
    return chunks
