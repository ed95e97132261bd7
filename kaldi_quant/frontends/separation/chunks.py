"""Long recordings piece by piece: pieces overlap, and where they do one fades into the other.

Networks whose outputs have no order may give the same speaker in another place in each piece. Outputs of a piece are
put in the order of what was separated before, by what both have in common: the overlap. No source is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.order import best_order
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz, Seconds

#: How one piece fades into the next: the weights of both are straight lines, or squares of sines; they sum to 1.
Fade = Literal["triangular", "hann"]
# What is matched in level becomes at most so much louder or softer from piece to piece.
_MOST_GAIN = 10.0


@dataclass(frozen=True)
class Chunks:
    """How long recordings are cut.

    Args:
        seconds: of each piece; the last begins so early that it is as long as the others.
        overlap: the share of a piece that the next one has in common with it, up to a half.
        fade: of one piece into the next.
        match_levels: whether each output of a piece is made as loud as what was separated before, in the overlap; for
            networks whose outputs have any level.

    Raises:
        UsageError: a value is impossible.
    """

    seconds: Seconds
    overlap: float = 0.25
    fade: Fade = "triangular"
    match_levels: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"expected pieces of more than 0 seconds, found {self.seconds:g}")
        if not 0 < self.overlap <= 0.5:
            raise UsageError(f"expected an overlap above 0 and up to 0.5 of a piece, found {self.overlap:g}")
        if self.fade not in get_args(Fade):
            raise UsageError(f"expected a fade of {' or '.join(get_args(Fade))}, found {self.fade!r}")

    def samples(self, rate: Hertz) -> int:
        """Of a piece, two or more."""
        return max(2, round(self.seconds * rate))


def separate_in_chunks(
    mixture: Array, separate: Callable[[Array], Array], samples: int, chunks: Chunks, is_ordered: bool
) -> Array:
    """Separates a recording piece by piece; beside the result there is never more than a piece in memory.

    Args:
        mixture: (C, T) float32.
        separate: gives (S, C, t) float32 for a piece (C, t).
        samples: of a piece.
        chunks: how pieces meet.
        is_ordered: whether outputs stand for the sources at their places.

    Returns:
        (S, C, T) float32.
    """
    found, done = np.zeros(0, np.float32), 0
    for begin, end in pieces(mixture.shape[1], samples, chunks.overlap):
        piece = separate(mixture[:, begin:end])
        common = done - begin
        if not done:
            found = np.empty((*piece.shape[:2], mixture.shape[1]), np.float32)
        else:
            before, now = found[..., begin:done], piece[..., :common]
            if not is_ordered:
                order = _order(before, now)
                piece, now = piece[order], now[order]
            if chunks.match_levels:
                gains = _gains(before, now)
                piece, now = piece * gains, now * gains
            rising = fade_in(common, chunks.fade)
            before *= 1 - rising
            before += rising * now
        found[..., done:end] = piece[..., max(common, 0) :]
        done = end
    return found


def pieces(length: int, samples: int, overlap: float) -> Iterator[tuple[int, int]]:
    """The begin and end of each piece, which together are the whole.

    Example:
        >>> list(pieces(10, 4, 0.25))
        [(0, 4), (3, 7), (6, 10)]
    """
    step = max(1, samples - max(1, round(samples * overlap)))
    begin = 0
    while begin + samples < length:
        yield begin, begin + samples
        begin = min(begin + step, length - samples)
    yield begin, length


def fade_in(samples: int, fade: Fade) -> Array:
    """(samples,) float32 rising from 0 to 1: with what is left to 1 for the piece before."""
    line = (np.arange(samples) + 0.5) / samples
    return (line if fade == "triangular" else np.sin(np.pi / 2 * line) ** 2).astype(np.float32)


def _order(before: Array, now: Array) -> list[int]:
    """Which outputs of a piece go on with those before: by correlations, of which loud ones count more.

    Of outputs (S, C, t) the levels do not matter, and signs stay: what is the same upside down is another.
    """
    flat = [x.reshape(len(x), -1).astype(np.float64) for x in (now, before)]
    norms = np.sqrt(np.square(flat[0]).sum(axis=1, keepdims=True))
    return best_order(flat[0] / np.where(norms > 0, norms, 1) @ flat[1].T)


def _gains(before: Array, now: Array) -> Array:
    """(S, 1, 1) float32: 1 where one of both is silent."""
    energies = [np.square(x, dtype=np.float64).sum(axis=(1, 2), keepdims=True) for x in (before, now)]
    is_heard = (energies[0] > 0) & (energies[1] > 0)
    ratios = np.sqrt(np.where(is_heard, energies[0], 1) / np.where(is_heard, energies[1], 1))
    return np.clip(ratios, 1 / _MOST_GAIN, _MOST_GAIN).astype(np.float32)
