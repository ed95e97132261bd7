"""Noise, mixtures and rooms: levels, ratios, and the same from the same seed."""

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.signals.level import active_rms, at_level, mix, rms
from kaldi_quant.frontends.signals.noise import NOISES, make_noise
from kaldi_quant.frontends.signals.rooms import impulse_response, reverberate

RATE = 8000
TONE = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE).astype(np.float32)


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", list(NOISES))
def test_noise_follows_from_its_seed(kind: str) -> None:
    one, again, other = (make_noise(kind, RATE, RATE, generator(seed), [TONE, TONE[:900]]) for seed in (3, 3, 4))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert one.shape == (RATE,) and one.dtype == np.float32 and rms(one) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("kind", "per_octave"), [("white", 3.0), ("pink", 0.0), ("brown", -3.0)])
def test_power_of_octaves(kind: str, per_octave: float) -> None:
    powers = np.abs(np.fft.rfft(make_noise(kind, 16 * RATE, RATE, generator()))) ** 2
    octaves = [10 * np.log10(powers[16 * low : 32 * low].sum()) for low in (100, 200, 400, 800, 1600)]
    assert np.diff(octaves) == pytest.approx(np.full(4, per_octave), abs=0.7)


def test_babble_needs_voices_and_kinds_are_known() -> None:
    with pytest.raises(UsageError, match="babble is made of voices"):
        make_noise("babble", 10, RATE, generator(), [np.zeros(5)])
    with pytest.raises(UsageError, match="the kind of noise 'blue' is not one of white, pink"):
        make_noise("blue", 10, RATE, generator())


def test_pauses_do_not_count_for_the_ratio() -> None:
    speech = np.concatenate([np.zeros(RATE), TONE, np.zeros(2 * RATE)])
    assert active_rms(speech, RATE) == pytest.approx(rms(TONE), rel=1e-6)
    noisy = mix(speech, make_noise("white", len(speech), RATE, generator()), 12.0, RATE)
    assert 20 * np.log10(rms(TONE) / rms(noisy - speech)) == pytest.approx(12, abs=1e-3)


def test_silence_and_other_lengths_have_no_ratio() -> None:
    with pytest.raises(DataError, match="silence"):
        mix(np.zeros(100), np.ones(100), 0.0, RATE)
    with pytest.raises(DataError, match="found 3 and 100"):
        mix(np.ones(100), np.ones(3), 0.0, RATE)


def test_levels_keep_below_full_scale() -> None:
    assert 20 * np.log10(rms(at_level(TONE, -20.0))) == pytest.approx(-20, abs=1e-4)
    assert np.abs(at_level(TONE, 6.0)).max() == pytest.approx(0.99, abs=1e-6)
    with pytest.raises(DataError, match="silence"):
        at_level(np.zeros(4), -20.0)


def test_a_room_has_the_ratio_and_the_decay_that_were_asked_for() -> None:
    response = impulse_response(0.4, 6.0, RATE, generator())
    reflections = response[1:].astype(np.float64)
    assert response[0] == 1 and -10 * np.log10((reflections**2).sum()) == pytest.approx(6, abs=1e-3)
    early, late = rms(reflections[400:800]), rms(reflections[1200:1600])
    assert 20 * np.log10(early / late) == pytest.approx(60 * 800 / RATE / 0.4, abs=2)
    wet = reverberate(TONE, response)
    assert wet.shape == TONE.shape and wet[:20] == pytest.approx(TONE[:20], abs=1e-6)
