"""Scores of separated signals: in any order where there is none, defined whatever a recording holds."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.separation.order import best_order
from kaldi_quant.frontends.separation.scores.bss_eval import sdr, sdr_v4
from kaldi_quant.frontends.separation.scores.measured import mixture_scores, separation_scores, source_values
from kaldi_quant.frontends.separation.scores.measures import metrics_of
from kaldi_quant.metrics.known import MSE, NSDR, PESQ, SDR, SI_SDR, STOI
from kaldi_quant.metrics.speech import MEASURES
from tests.frontends.separation.scores.mixtures import MUSIC, SPEECH, Mixture, music, nearly, speech

NAMES = ["SI-SDR", "SI-SDRi", "SDR", "STOI", "PESQ"]


def test_speech_in_any_order() -> None:
    one, other = speech(), speech("other")
    given = {"a": nearly(one), "other": nearly(other, 0.3)}
    found = separation_scores(iter([one, other]), given, SPEECH)
    assert list(found) == NAMES and found["SDR"].units_are == "recordings"
    turned = {name: signals[::-1] for name, signals in given.items()}
    assert separation_scores([one, other], turned, SPEECH) == found
    pairs = [(one.sources[place, 0], given["a"][place, 0]) for place in (0, 1)]
    for metric in (SI_SDR, STOI, PESQ):
        expected = np.mean([MEASURES[metric.name](*pair, 8000) for pair in pairs])
        assert found[metric.name].per_unit["a"] == pytest.approx(expected), metric.name
    assert found["SDR"].per_unit["a"] == pytest.approx(np.mean([sdr(*pair) for pair in pairs]))


def test_all_scores_of_better_signals_are_better() -> None:
    for kind, one in ((SPEECH, speech()), (MUSIC, music())):
        before, after = mixture_scores([one], kind), separation_scores([one], {one.name: nearly(one)}, kind)
        for metric in metrics_of(kind):
            assert metric.loss(after[metric.name].value - before[metric.name].value) < 0, metric.name
        assert before["SI-SDRi"].value == pytest.approx(0)
        improvement = after["SI-SDR"].value - before["SI-SDR"].value
        assert after["SI-SDRi"].value == pytest.approx(improvement)


def test_music_keeps_its_order() -> None:
    one = music()
    given = nearly(one)
    found = separation_scores([one], {one.name: given}, MUSIC)
    assert list(found) == ["NSDR", "SDR-v4", "SI-SDR", "SI-SDRi"] and found["NSDR"].units_are == "tracks"
    error = np.square(given - one.sources, dtype=float).sum((1, 2))
    expected = 10 * np.log10(np.square(one.sources, dtype=float).sum((1, 2)) / error)
    assert found["NSDR"].value == pytest.approx(expected.mean(), abs=1e-4)
    assert found["SDR-v4"].value == pytest.approx(sdr_v4(one.sources, given, 1000).mean())
    turned = separation_scores([one], {one.name: given[::-1]}, MUSIC)
    assert turned["NSDR"].value < 0 < found["NSDR"].value


def test_medians_of_stems() -> None:
    tracks = [music(name) for name in ("a", "bb", "ccc")]
    tracks[0].sources[3] = 0
    estimates = {each.name: nearly(each, 0.1 * place + 0.1) for place, each in enumerate(tracks)}
    found = source_values(tracks, estimates, MUSIC, [NSDR])["NSDR"]
    assert np.isnan(found.values["a"][3]) and list(found.medians(MUSIC)) == list(MUSIC.sources)
    for place, name in enumerate(MUSIC.sources[:3]):
        assert found.medians(MUSIC)[name] == np.median([values[place] for values in found.values.values()])
    assert found.medians(MUSIC)["vocals"] == np.mean([found.values[name][3] for name in ("bb", "ccc")])
    # A silent stem does not count in its track.
    assert found.score("tracks").per_unit["a"] == found.values["a"][:3].mean()


@pytest.mark.parametrize("kind", [SPEECH, MUSIC])
def test_silence_has_defined_scores(kind: object, caplog: pytest.LogCaptureFixture) -> None:
    one = speech() if kind is SPEECH else music()
    silent = Mixture("silent", 0 * one.mixture, 0 * one.sources)
    given = {one.name: nearly(one), "silent": nearly(one)}
    with caplog.at_level(logging.WARNING):
        found = separation_scores([one, silent], given, kind)
    for name, score in found.items():
        assert score.per_unit["silent"] == (0.999 if name == "PESQ" else 0.0)
        assert f"{name} is not defined for 1 (silent): they count as" in caplog.text
    quiet = separation_scores([one], {one.name: 0 * one.sources}, kind)
    assert quiet["SI-SDR"].value == -100 and all(np.isfinite(score.value) for score in quiet.values())


def test_short_recordings_have_defined_scores() -> None:
    one = speech(samples=100)
    found = separation_scores([one], {"a": nearly(one)}, SPEECH)
    assert {name: found[name].value for name in ("SDR", "STOI", "PESQ")} == {"SDR": 0.0, "STOI": 0.0, "PESQ": 0.999}
    assert found["SI-SDR"].value > 10


def test_one_silent_source_leaves_the_others_their_order() -> None:
    one = speech()
    sources = one.sources.copy()
    sources[1] = 0
    given = np.stack([0.01 * one.sources[1], one.sources[0] + 0.1 * one.sources[1]])
    half = Mixture("a", one.mixture, sources)
    found = source_values([half], {"a": given}, SPEECH, [SI_SDR])["SI-SDR"].values["a"]
    assert found[0] > 15 and np.isnan(found[1])


def test_order_is_never_greedy() -> None:
    assert best_order(np.array([[9.0, 8.0], [8.0, 1.0]])) == [1, 0]
    assert best_order(np.zeros((3, 3))) == [0, 1, 2]
    assert best_order(np.array([[0, 0, 5.0], [5, 0, 0], [0, 5, 0]])) == [1, 2, 0]
    assert best_order(np.array([[1.0, 1], [2, 2]])) == [0, 1]


def test_rates_and_metrics() -> None:
    assert PESQ not in metrics_of(replace(SPEECH, rate=44100)) and PESQ in metrics_of(replace(SPEECH, rate=16000))
    one = speech()
    with pytest.raises(UsageError, match="the measure of separation 'MSE' is not one of SI-SDR, SI-SDRi"):
        separation_scores([one], {"a": nearly(one)}, SPEECH, [MSE])
    assert list(separation_scores([one], {"a": nearly(one)}, SPEECH, [SDR])) == ["SDR"]


@pytest.mark.parametrize(
    ("estimates", "message"),
    [
        (None, "a was not separated"),
        (
            lambda x: x[:, :, 1:],
            r"a: expected estimates of the shape \(2, 1, 8000\) and a mixture, found \(2, 1, 7999\)",
        ),
        (lambda x: x[:1], r"found \(1, 1, 8000\) and \(1, 8000\)"),
        (lambda x: x * np.nan, "a: what was made of it holds values that are not finite"),
    ],
)
def test_broken_results_are_named(estimates: object, message: str) -> None:
    one = speech()
    found = {} if estimates is None else {"a": estimates(one.sources)}
    with pytest.raises(DataError, match=message):
        separation_scores([one], found, SPEECH, [SI_SDR])
    with pytest.raises(DataError, match="a: a source holds"):
        separation_scores([replace(one, sources=one.sources * np.nan)], {"a": one.sources}, SPEECH, [SI_SDR])
    with pytest.raises(DataError, match=r"a: expected 4 sources of 2 channels, found \(2, 1, 8000\)"):
        separation_scores([one], {"a": one.sources}, MUSIC, [SI_SDR])
    with pytest.raises(DataError, match="there are no mixtures"):
        separation_scores([], {}, SPEECH, [SI_SDR])
