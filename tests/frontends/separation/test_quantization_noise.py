"""Rounding the ends of a separator costs what uniform noise does, and most where separation is good."""

from __future__ import annotations

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.separation.quantization_noise import grouped, measure_rounding, noise_table, rounded
from tests.frontends.separation.scores.mixtures import MUSIC, SPEECH, Mixture, music, nearly


class Knowing:
    """Separates by two filters of which each mixture consists: low frequencies and high ones, with a rest."""

    kind = SPEECH

    def __init__(self, rest: float) -> None:
        self.rest = rest

    def separate(self, mixture: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(mixture)
        places = np.arange(spectrum.shape[1]) < spectrum.shape[1] // 2
        parts = np.stack([np.fft.irfft(spectrum * (places if low else ~places), mixture.shape[1]) for low in (1, 0)])
        return (parts + self.rest * parts[::-1]).astype(np.float32)


def tones(name: str, gain: float = 1.0, samples: int = 8000) -> Mixture:
    random = np.random.default_rng(len(name))
    noise = random.standard_normal((1, samples)).astype(np.float32) * gain
    sources = Knowing(0).separate(noise)
    return Mixture(name, sources.sum(0), sources)


def test_rounding_is_uniform_noise() -> None:
    # So long that what noise and signals have in common by chance is little.
    mixtures = [tones("a", samples=100_000), tones("bb", 0.01, samples=100_000)]
    for rest in (0.7, 0.3, 0.03):
        found = measure_rounding(Knowing(rest), mixtures, (5, 8))
        assert len(found) == 2 * 2 * 3 * 2
        for one in found:
            assert one.in_float == pytest.approx(-20 * np.log10(rest), abs=0.5)
            if one.where == "output":
                lost = one.in_float - one.predicted
                assert one.in_float - one.measured == pytest.approx(lost, rel=0.1, abs=0.01), one
            # The noise of the input is parted as the mixture is.
            assert one.measured == pytest.approx(one.predicted, abs=0.2), one
    assert len({one.in_float for one in found}) == 4


def test_what_separates_well_loses_most() -> None:
    found = [
        one
        for rest in (0.3, 0.1, 0.01)
        for one in measure_rounding(Knowing(rest), [tones("a" * int(100 * rest))], (6, 16))
    ]
    groups = grouped(found, 3)
    assert [group.number for group in groups] == [2, 2, 2]
    losses = [group.lost["output", 6][0] for group in groups]
    assert losses == sorted(losses) and losses[-1] > 10 * losses[0]
    assert all(abs(group.lost["both", 16][0]) < 0.01 for group in groups)
    assert all(group.lost["both", 6][0] > max(group.lost[end, 6][0] for end in ("input", "output")) for group in groups)
    heads, rows = noise_table(groups)
    assert heads[:2] == ["rounded", "bits"] and heads[2].endswith(" dB (2)")
    assert [row[:2] for row in rows] == [[where, bits] for where in ("input", "output", "both") for bits in ("6", "16")]


def test_music_is_measured_by_its_levels() -> None:
    one = music()
    one.sources[1] = 0

    class Same:
        kind = MUSIC

        def separate(self, mixture: np.ndarray) -> np.ndarray:
            return nearly(one)

    found = measure_rounding(Same(), [one], [8])
    assert {each.source for each in found} == {0, 2, 3} and 15 < found[0].in_float < 25


def test_grids() -> None:
    signal = np.random.default_rng(0).standard_normal((2, 500)).astype(np.float32)
    for bits in (2, 6, 12):
        found = rounded(signal, bits)
        assert found.dtype == np.float32 and len(np.unique(found)) <= 2**bits - 1
        assert np.abs(found).max() == pytest.approx(np.abs(signal).max())
        assert np.abs(found - signal).max() <= np.abs(signal).max() / (2 ** (bits - 1) - 1) / 2 * 1.0001
    np.testing.assert_array_equal(rounded(0 * signal, 8), 0 * signal)


def test_what_cannot_be_measured() -> None:
    with pytest.raises(UsageError, match="a grid of 2 to 24 bits, found 1"):
        measure_rounding(Knowing(0.1), [tones("a")], [1])
    silent = tones("a", 0.0)
    for given in ([], [silent]):
        with pytest.raises(DataError, match="nothing can be said of rounding"):
            measure_rounding(Knowing(0.1), given, [8])
    with pytest.raises(UsageError, match="at least one group of sources, found 0"):
        grouped(measure_rounding(Knowing(0.1), [tones("a")], [8]), 0)
