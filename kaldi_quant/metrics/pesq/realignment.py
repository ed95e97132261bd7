"""Stretches that disturb very much are compared once more with what comes a little earlier or later.

Source: P.862, 10.2.11: what looks bad because it is late is not heard as bad.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.metrics.pesq.model import Perception

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

# Frames that disturb more than this are bad.
_BAD = 30.0
# A bad stretch has at least so many frames, and may have gaps of no more than so many.
_FEWEST, _GAP = 5, 2
# Frames by which it may be early or late, and the correlation from which on it is taken to be so.
_FRAMES, _CORRELATION = 4, 0.5


def disturbances(perception: Perception, reference: Array, degraded: Array) -> tuple[Array, Array]:
    """(T,) each: the symmetric and the asymmetric disturbance of all frames, bad stretches at their best delay.

    Args:
        perception: of both signals.
        reference, degraded: (n,) each, as it got them.
    """
    found = perception.disturbances(perception.degraded)
    stretches = _bad_stretches(found[0] > _BAD)
    if not stretches:
        return found
    moved = degraded.copy()
    for begin, end in stretches:
        samples = np.arange(begin * perception.hop, end * perception.hop + perception.frame)
        late = _delay(reference, degraded, samples, _FRAMES * perception.frame)
        moved[samples] = degraded[np.clip(samples + late, 0, len(degraded) - 1)]
    powers = perception.bands.densities(perception.powers(moved))
    for begin, end in stretches:
        again = perception.disturbances(powers[begin:end], begin, end)
        for one, other in zip(found, again, strict=True):
            one[begin:end] = np.minimum(one[begin:end], other)
    return found


def _bad_stretches(bad: Flags) -> list[tuple[int, int]]:
    """The first frame of each, and the one behind its last; what goes on to the end is none."""
    bad = bad.copy()
    bad[0] = False
    smeared = np.zeros_like(bad)
    for frame in range(_GAP, len(bad) - 1 - _GAP):
        smeared[frame] = bad[frame - _GAP : frame + 1].any() and bad[frame : frame + _GAP + 1].any()
    edges = np.flatnonzero(np.diff(smeared.astype(np.int8), prepend=0))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=False)
    return [(begin, end) for begin, end in pairs if end - begin >= _FEWEST]


def _delay(reference: Array, degraded: Array, samples: np.ndarray[Any, Any], reach: int) -> int:
    """How much later the degraded signal is in these samples; 0 where that is not clear."""
    around = np.arange(samples[0] - reach, samples[-1] + 1 + reach)
    one = np.pad(np.abs(reference[samples]), reach)
    other = np.abs(degraded[np.clip(around, 0, len(degraded) - 1)])
    scale = np.sqrt(np.square(one).sum() * np.square(other).sum())
    if not scale:
        return 0
    size = 1 << (2 * len(one) - 1).bit_length()
    correlation = np.fft.irfft(np.conj(np.fft.rfft(one, size)) * np.fft.rfft(other, size), size) / scale
    delays = np.arange(-reach, reach)
    best = int(np.argmax(correlation[delays]))
    return int(delays[best]) if correlation[delays[best]] >= _CORRELATION else 0
