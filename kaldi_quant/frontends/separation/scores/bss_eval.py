"""The signal-to-distortion ratio (SDR) of BSS Eval: version 3 for one channel, version 4 for music.

E. Vincent et al., "Performance measurement in blind audio source separation", IEEE TASLP 2006; R. Scheibler, "SDR -
Medium Rare with Fast Computations", ICASSP 2022 (fast-bss-eval); version 4: F.-R. Stöter et al., "The 2018 Signal
Separation Evaluation Campaign", 2018 (museval).
"""

from __future__ import annotations

import numpy as np
from scipy import fft, linalg

from kaldi_quant.errors import DataError
from kaldi_quant.metrics.speech import MOST_SI_SDR, Signal, decibels
from kaldi_quant.units import Hertz

#: A target may be filtered by so many taps before it is compared.
TAPS = 512


def sdr(reference: Signal, estimate: Signal, taps: int = TAPS) -> float:
    """The SDR of version 3, in dB, from -100 to 100: the reference may be filtered to fit best.

    Args:
        reference: (samples,).
        estimate: (samples,).
        taps: of the filter.

    Raises:
        DataError: signals are shorter than the filter, or not as long as each other, or not finite; or the reference
            is silent.
    """
    _check(reference[None, None], estimate[None, None])
    if len(reference) < taps:
        raise DataError(f"SDR needs at least {taps} samples, found {len(reference)}")
    if not reference.any():
        raise DataError("the reference is silent")
    if not estimate.any():
        return -MOST_SI_SDR
    target, given = (x / np.linalg.norm(x) for x in (reference.astype(np.float64), estimate.astype(np.float64)))
    # Zeros behind them, so that what is correlated does not meet its own beginning.
    size = fft.next_fast_len(len(target) + taps - 1, real=True)
    spectra = fft.rfft(target, size), fft.rfft(given, size)
    own = fft.irfft(np.abs(spectra[0]) ** 2, size)[:taps]
    common = fft.irfft(spectra[0].conj() * spectra[1], size)[:taps]
    # What the filtered reference explains of an estimate of energy 1.
    explained = float(common @ _solved(own, common))
    return decibels(max(explained, 0.0), max(1 - explained, 0.0))


def _solved(first_column: Signal, right: Signal) -> Signal:
    try:
        found: Signal = linalg.solve_toeplitz(first_column, right)
    except linalg.LinAlgError:
        found = np.linalg.lstsq(linalg.toeplitz(first_column), right, rcond=None)[0]
    return found


def frame_sdrs(references: Signal, estimates: Signal, rate: Hertz, seconds: float = 1.0) -> Signal:
    """The SDR of version 4 of each second: of source images it is the ratio of source to error, all channels together.

    A second in which a reference is silent has no value for any source, as in museval. museval leaves out seconds with
    a silent estimate, too; here that is an error as large as the source, 0 dB: whoever separates nothing gains nothing.

    Args:
        references: (S, C, T).
        estimates: (S, C, T).
        rate: in Hz.
        seconds: of a frame; what is left behind the last whole one does not count. Shorter signals are one frame.

    Returns:
        (S, frames) in dB, from -100 to 100; NaN where there is no value.

    Raises:
        DataError: they have not the same shape, or are not finite.
    """
    _check(references, estimates)
    length = references.shape[2]
    size = min(length, round(seconds * rate))
    begins = range(0, length - size + 1, size)
    found = np.full((len(references), len(begins)), np.nan)
    for place, begin in enumerate(begins):
        target, given = (x[..., begin : begin + size].astype(np.float64) for x in (references, estimates))
        if target.any(axis=(1, 2)).all():
            signal, error = (np.square(x).sum(axis=(1, 2)) for x in (target, given - target))
            found[:, place] = list(map(decibels, signal, error))
    return found


def sdr_v4(references: Signal, estimates: Signal, rate: Hertz) -> Signal:
    """(S,) in dB: the median over seconds of ``frame_sdrs``, with its arguments; NaN where no second has a value."""
    frames = frame_sdrs(references, estimates, rate)
    counted = frames[:, np.isfinite(frames[0])]
    return np.median(counted, axis=1) if counted.size else np.full(len(frames), np.nan)


def _check(references: Signal, estimates: Signal) -> None:
    if references.ndim != 3 or references.shape != estimates.shape or not references.size:
        raise DataError(
            f"expected estimates of the shape of references; found {estimates.shape} and {references.shape}"
        )
    if not (np.isfinite(references).all() and np.isfinite(estimates).all()):
        raise DataError("a signal holds values that are not finite (NaN or infinity)")
