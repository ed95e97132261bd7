"""Music of mean 0 and standard deviation 1, as networks of music read it."""

from __future__ import annotations

from kaldi_quant.frontends.signals.stft import Array


def statistics(mixture: Array) -> tuple[float, float]:
    """Mean and standard deviation of what is heard, (C, T), all channels as one; of silence the deviation is 1."""
    whole = mixture.mean(axis=0, dtype="float64")
    deviation = float(whole.std())
    return float(whole.mean()), deviation if deviation > 0 else 1.0
