"""Mixtures: ratios, levels, rooms; the same whatever the order and the process; what is wrong is told."""

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.enhancement.data import MixOptions, Pair, TrainingSource, read_enhancement
from kaldi_quant.frontends.enhancement.data.mixing import mixed
from kaldi_quant.frontends.enhancement.data.noise_gain import MIXINGS
from kaldi_quant.frontends.signals.level import active_rms, rms
from kaldi_quant.frontends.speech.conditions import CONDITIONS, EARLY
from tests.frontends.enhancement.data.toy_speech import RATE, listed, tone

VOICES = [tone(1), tone(2)]
KINDS = ("coloured", "babble", "hum", "clicks", "machine")


def make(options: MixOptions, seed: int = 1, speech: np.ndarray | None = None, **given: object) -> Pair:
    speech = tone(5, 8000) if speech is None else speech
    return mixed("here", speech, VOICES, RATE, options, np.random.default_rng(seed), **given)


def item(source: TrainingSource, place: tuple[int, int]) -> Pair:
    return source.item(*place)


def test_items_do_not_depend_on_order_or_process(tmp_path: Path) -> None:
    folder = listed(tmp_path)
    places = [(index, number) for number in range(2) for index in range(4)]
    source = read_enhancement(folder).train
    one = [source.item(*place) for place in places]
    other = read_enhancement(folder).train
    backwards = [other.item(*place) for place in reversed(places)][::-1]
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        elsewhere = list(pool.map(item, [other] * len(places), places))
    for pair, again, there in zip(one, backwards, elsewhere, strict=True):
        for copy in (again, there):
            assert np.array_equal(pair.noisy, copy.noisy) and np.array_equal(pair.clean, copy.clean)
            assert (pair.name, pair.noise, pair.snr, pair.speaker) == (copy.name, copy.noise, copy.snr, copy.speaker)
    assert len({pair.noisy.tobytes() for pair in one}) == len(places)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("conditions", list(CONDITIONS))
def test_ratio_and_level_are_those_that_were_asked_for(kind: str, conditions: str) -> None:
    options = MixOptions(kinds=(kind,), snr_list=(7.0,), conditions=conditions, room_share=0.0, levels=(-30.0, -30.0))
    speech = np.concatenate([np.zeros(4000, np.float32), tone(5, 8000)])
    pair = make(options, speech=speech)
    assert (pair.noise, pair.snr) == (kind, 7.0) and pair.noisy.dtype == pair.clean.dtype == np.float32
    noise = pair.noisy - pair.clean
    assert 20 * math.log10(active_rms(pair.clean, RATE) / rms(noise)) == pytest.approx(7, abs=0.01)
    assert 20 * math.log10(rms(pair.noisy)) == pytest.approx(-30, abs=0.01)
    assert np.corrcoef(pair.clean, speech)[0, 1] == pytest.approx(1, abs=1e-6)


def test_ratios_come_from_the_list_or_the_range() -> None:
    listed = {make(MixOptions(snr_list=(-2.0, 3.0)), seed).snr for seed in range(12)}
    assert listed == {-2.0, 3.0}
    ranged = [make(MixOptions(snr_range=(4.0, 6.0)), seed).snr for seed in range(12)]
    assert all(4 <= snr <= 6 for snr in ranged) and len(set(ranged)) == 12


def test_speech_stays_as_loud_as_it_is_without_a_level() -> None:
    pair = make(MixOptions(levels=None, room_share=0.0))
    assert np.array_equal(pair.clean, tone(5, 8000))


def test_in_a_room_the_target_has_the_early_reflections() -> None:
    speech = np.zeros(8000, np.float32)
    speech[100] = 1.0
    options = MixOptions(levels=None, snr_list=(200.0,))
    pair = make(options, speech=speech, room=True)
    end = 100 + round(EARLY * RATE)
    assert pair.clean[:end] == pytest.approx(pair.noisy[:end], abs=1e-4)
    assert pair.clean[100] > 0.5 and np.abs(pair.clean[200:end]).max() > 0.01
    assert np.abs(pair.clean[end:]).max() < 1e-6 and np.abs(pair.noisy[end:]).max() > 1e-4


def test_rooms_come_as_often_as_asked_for() -> None:
    dry = [
        np.array_equal(make(MixOptions(levels=None, room_share=0.5), seed).clean, tone(5, 8000)) for seed in range(20)
    ]
    assert 4 < sum(dry) < 16


def test_mbqat_scales_to_unit_power() -> None:
    """α = sqrt(Σs² / (Σn² + 1e-8) / 10^(snr/10) + 1e-8), then speech and noise by one gain."""
    speech, noise = tone(3), np.random.default_rng(1).standard_normal(3200).astype(np.float32)
    noisy, gain = MIXINGS["mbqat"](speech, noise, 4.0, RATE, None)
    alpha = math.sqrt((speech**2).sum() / ((noise**2).sum() + 1e-8) / 10**0.4 + 1e-8)
    expected = speech + alpha * noise
    assert noisy == pytest.approx(expected / rms(expected), rel=1e-4, abs=1e-6)
    assert rms(noisy) == pytest.approx(1, abs=1e-5)
    assert 20 * math.log10(rms(gain * speech) / rms(noisy - gain * speech)) == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("style", list(MIXINGS))
def test_silence_has_no_ratio(style: str) -> None:
    with pytest.raises(DataError, match="here: speech or noise is silence"):
        make(MixOptions(style=style), speech=np.zeros(8000, np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "loud"}, "the way of mixing 'loud' is not one of active, mbqat"),
        ({"kinds": ("rain",)}, "the kind of noise 'rain' is not one of coloured, babble, hum, clicks, machine"),
        ({"conditions": "mars"}, "the set of conditions 'mars' is not one of heard, unheard"),
        ({"snr_range": (5.0, 0.0)}, "snr_range: expected the least and the greatest in dB, found"),
        ({"snr_range": (math.nan, 0.0)}, "snr_range: expected the least and the greatest in dB, found"),
        ({"snr_list": (math.inf,)}, "snr_list: expected ratios in dB"),
        ({"levels": (-10.0, -20.0)}, "levels: expected the least and the greatest in dB"),
        ({"room_share": 1.5}, "room_share must be from 0 to 1"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MixOptions(**options)


def test_the_test_has_ranges_that_training_does_not_have() -> None:
    def apart(one: object, other: object) -> int:
        """How many parameters have ranges that do not meet."""
        count = 0
        for entry in fields(one):
            mine, theirs = getattr(one, entry.name), getattr(other, entry.name)
            if is_dataclass(mine):
                count += apart(mine, theirs)
            elif isinstance(mine, tuple):
                count += all(high < least or most < low for low, high in mine for least, most in theirs)
        return count

    heard, unheard = CONDITIONS["heard"], CONDITIONS["unheard"]
    assert tuple(heard.noises) == tuple(unheard.noises) == KINDS
    assert all(apart(heard.noises[kind], unheard.noises[kind]) for kind in KINDS)
    assert apart(heard.rooms, unheard.rooms) == 2
