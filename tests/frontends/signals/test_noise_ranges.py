"""Noises of ranges: their spectra and times are within the ranges, and follow from the seed."""

import numpy as np
import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.noise_ranges import Babble, Clicks, Coloured, Hum, Machine, Noise, draw

RATE = 16000
WIDE = Coloured(slopes=((-3, -3),), lows=((1, 1),), highs=((1e6, 1e6),))
NOISES = {
    "coloured": WIDE,
    "babble": Babble(talkers=((3, 5),)),
    "hum": Hum(mains=((50, 50),), highest=((400, 400),), falls=((0, 0),), floors=((-40, -40),)),
    "clicks": Clicks(per_second=((5, 5),), decays=((0.002, 0.002),), tones=((2000, 2000),)),
    "machine": Machine(speeds=((100, 100),), swells=((4, 4),), depths=((0.5, 0.5),), floors=((-40, -40),), noise=WIDE),
}


def made(noise: Noise, samples: int = RATE, seed: int = 3) -> np.ndarray:
    voices = [np.sin(np.arange(3000) / 9).astype(np.float32), np.full(50, 0.5, np.float32)]
    return noise.make(samples, RATE, np.random.default_rng(seed), voices)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("samples", [1, 7, RATE])
def test_noise_follows_from_its_seed(kind: str, samples: int) -> None:
    one, again, other = (made(NOISES[kind], samples, seed) for seed in (3, 3, 4))
    assert one.shape == (samples,) and one.dtype == np.float32 and np.isfinite(one).all() and one.any()
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize("slope", [-6.0, 0.0, 2.0])
def test_power_of_octaves(slope: float) -> None:
    noise = Coloured(slopes=((slope, slope),), lows=((1, 1),), highs=((1e6, 1e6),))
    powers = np.abs(np.fft.rfft(made(noise, 16 * RATE))) ** 2
    octaves = [10 * np.log10(powers[16 * low : 32 * low].mean()) for low in (100, 200, 400, 800, 1600)]
    assert np.diff(octaves) == pytest.approx(np.full(4, slope), abs=0.7)


def test_a_band_ends() -> None:
    powers = np.abs(np.fft.rfft(made(Coloured(((0, 0),), ((500, 500),), ((2000, 2000),))))) ** 2
    inside = powers[700:1500].mean()
    assert powers[100:200].mean() < 1e-3 * inside and powers[5000:].mean() < 1e-3 * inside


def test_hum_has_its_harmonics() -> None:
    powers = np.abs(np.fft.rfft(made(NOISES["hum"]))) ** 2
    assert set(np.argsort(powers)[-8:]) == {50 * number for number in range(1, 9)}


def test_machines_swell() -> None:
    turns = made(NOISES["machine"]).reshape(-1, RATE // 100)
    spectrum = np.abs(np.fft.rfft(np.sqrt((turns**2).mean(axis=1))))
    assert np.argmax(spectrum[1:]) + 1 == 4


def test_babble_is_made_of_voices() -> None:
    with pytest.raises(DataError, match="there is none"):
        NOISES["babble"].make(10, RATE, np.random.default_rng(1), [])
    with pytest.raises(DataError, match="it is silent"):
        NOISES["babble"].make(10, RATE, np.random.default_rng(1), [np.zeros(5, np.float32)])


def test_ranges_are_drawn_by_their_width() -> None:
    random = np.random.default_rng(0)
    wide = [draw(random, ((0, 3), (10, 11))) for _ in range(400)]
    assert all(0 <= value <= 3 or 10 <= value <= 11 for value in wide)
    assert sum(value < 5 for value in wide) == pytest.approx(300, abs=40)
    values = [draw(random, ((1, 1), (2, 2))) for _ in range(100)]
    assert 30 < values.count(1.0) < 70 and set(values) == {1.0, 2.0}
