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
# So many samples are made at once.
_BLOCK = 16384


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """The samples (samples,) at another rate; both rates in Hz.

    Returns:
        (n,) float32, as many samples as lie within the old ones' time.
    """
    return ResampleStream(rate, new_rate, _CUTOFF).push(samples, is_last=True)


class ResampleStream:
    """Resamples audio of which a few samples come at a time; all together they are those of the whole audio.

    Args:
        rate: of the samples that come, in Hz.
        new_rate: of those that are given, in Hz.
        cutoff: of the filter, as a share of the lower of the two Nyquist frequencies. Kaldi has 0.99 for files and 1
            for streams (``MaybeCreateResampler`` in ``src/feat/online-feature.cc``).
    """

    def __init__(self, rate: int, new_rate: int, cutoff: float = 1.0) -> None:
        self._rate, self._new_rate = rate, new_rate
        self._cutoff = float(np.float32(cutoff * 0.5 * min(rate, new_rate)))
        base = math.gcd(rate, new_rate)
        self._step, self._phases = rate // base, new_rate // base
        self._reach = _NUM_ZEROS / (2.0 * self._cutoff)
        margin = math.ceil(self._reach * rate) + 1
        times = np.arange(self._phases) / new_rate
        # A new sample reads old ones from here on; each has its own filter, and then they come again.
        self._first = np.ceil((times - self._reach) * rate).astype(np.int64)
        self._width = int((np.floor((times + self._reach) * rate) - self._first).max()) + 1
        distances = (self._first[:, None] + np.arange(self._width)) / rate - times[:, None]
        self._weights = (_filter(distances, self._cutoff) / np.float32(rate)).astype(np.float64)
        # The samples that are still needed, and the number of the first of them; before the first there are zeros.
        self._begin = -margin
        self._kept = np.zeros(margin)
        self._given = 0

    def push(self, samples: np.ndarray, is_last: bool = False) -> np.ndarray:
        """Takes the next samples.

        Args:
            samples: (samples,).
            is_last: no more come; those that wait for later ones are given, too.

        Returns:
            (n,) float32: all that depend on no later samples, (0,) perhaps.
        """
        kept = np.concatenate([self._kept, samples])
        end = max(self._ready(self._begin + len(kept), is_last), self._given)
        # Behind the last sample there are zeros, which some filters read and weights of 0 meet.
        padded = np.concatenate([kept, np.zeros(self._width + self._step)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self._width)
        output = np.empty(end - self._given, np.float32)
        for begin in range(self._given, end, _BLOCK):
            numbers = np.arange(begin, min(begin + _BLOCK, end))
            unit, phase = np.divmod(numbers, self._phases)
            read = windows[self._first[phase] + unit * self._step - self._begin]
            output[numbers - self._given] = np.einsum("nw,nw->n", read, self._weights[phase])
        self._given = end
        drop = min(max(int(self._first.min()) + end // self._phases * self._step - self._begin, 0), len(kept))
        self._kept, self._begin = kept[drop:].copy(), self._begin + drop
        return output

    def _ready(self, samples: int, is_last: bool) -> int:
        """How many new samples there are after so many old ones (``GetNumOutputSamples``)."""
        ticks = math.lcm(self._rate, self._new_rate)
        length = samples * (ticks // self._rate)
        if not is_last:
            length -= math.floor(self._reach * ticks)
        return max(-(-length // (ticks // self._new_rate)), 0)


def _filter(time: np.ndarray, cutoff: float) -> np.ndarray:
    """``FilterFunc``: the windowed sinc at distances from its middle in seconds, of any shape."""
    t = time.astype(np.float32).astype(np.float64)
    inside = np.abs(t) < _NUM_ZEROS / (2.0 * cutoff)
    window = np.where(inside, 0.5 * (1 + np.cos(2 * np.pi * cutoff / _NUM_ZEROS * t)), 0.0)
    middle = t == 0
    sinc = np.sin(2 * np.pi * cutoff * t) / np.where(middle, 1.0, np.pi * t)
    return np.where(middle, 2 * cutoff, sinc).astype(np.float32) * window.astype(np.float32)
