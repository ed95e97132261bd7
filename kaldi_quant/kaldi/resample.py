"""Audio at another sampling frequency, resampled as Kaldi does it.

Each new sample is a sum over old ones, weighted by a sinc under a raised cosine. Kaldi's single precision is kept where
it shapes the weights; sums are made in double precision, so that results differ from Kaldi's by its rounding of sums.

Source: ``ResampleWaveform`` and ``LinearResample`` in ``src/feat/resample.cc``.
"""

import math

import numpy as np

# ResampleWaveform's: the filter's cutoff as a share of the lower of the two Nyquist frequencies, and its width.
_CUTOFF = 0.99
_NUM_ZEROS = 6


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """The samples (samples,) at another rate; both rates in Hz.

    Returns:
        (n,) float32, as many samples as lie within the old ones' time.
    """
    cutoff = float(np.float32(_CUTOFF * 0.5 * min(rate, new_rate)))
    base = math.gcd(rate, new_rate)
    step, phases = rate // base, new_rate // base
    number = -(-len(samples) * phases // step)
    output = np.zeros(number, np.float64)
    # From here on the filter is at a new place between two old samples for each phase, and then the places come again.
    reach = _NUM_ZEROS / (2.0 * cutoff)
    margin = math.ceil(reach * rate) + 1
    padded = np.concatenate([np.zeros(margin), samples, np.zeros(margin + step)])
    for phase in range(min(phases, number)):
        time = phase / new_rate
        first, last = math.ceil((time - reach) * rate), math.floor((time + reach) * rate)
        weights = _filter(np.arange(first, last + 1) / rate - time, cutoff) / np.float32(rate)
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights))[first + margin :: step]
        places = output[phase::phases]
        places[:] = windows[: len(places)] @ weights.astype(np.float64)
    return output.astype(np.float32)


def _filter(time: np.ndarray, cutoff: float) -> np.ndarray:
    """``FilterFunc``: the windowed sinc at distances of (n,) seconds from its middle."""
    t = time.astype(np.float32).astype(np.float64)
    inside = np.abs(t) < _NUM_ZEROS / (2.0 * cutoff)
    window = np.where(inside, 0.5 * (1 + np.cos(2 * np.pi * cutoff / _NUM_ZEROS * t)), 0.0)
    middle = t == 0
    sinc = np.sin(2 * np.pi * cutoff * t) / np.where(middle, 1.0, np.pi * t)
    return np.where(middle, 2 * cutoff, sinc).astype(np.float32) * window.astype(np.float32)
