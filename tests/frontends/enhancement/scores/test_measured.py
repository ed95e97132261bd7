"""Scores of enhanced speech: better speech has better ones, and whatever has none of its own has a defined one."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.enhancement.scores.measured import (
    METRICS,
    UNDEFINED,
    enhancement_scores,
    noisy_scores,
)
from kaldi_quant.metrics.known import MSE, PESQ, SI_SDR, SNR
from kaldi_quant.metrics.speech import MEASURES, made_by
from tests.frontends.enhancement.scores.pairs import RATE, Pair, noisy_pair


def test_all_scores_of_better_speech_are_better() -> None:
    one = noisy_pair("a", "white", 5.0)
    better = {"a": one.clean + 0.3 * (one.noisy - one.clean)}
    before, after = noisy_scores([one], RATE), enhancement_scores(iter([one]), better, RATE)
    assert list(after) == [metric.name for metric in METRICS]
    for metric in METRICS:
        assert metric.loss(after[metric.name].value - before[metric.name].value) < 0, metric.name
        assert after[metric.name].made_by == made_by(metric)
    assert after["SNR"].value == pytest.approx(5 + 20 * np.log10(1 / 0.3), abs=1e-4)
    assert after["PESQ"].value == MEASURES["PESQ"](one.clean, better["a"], RATE)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("silence", np.zeros(8000, np.float32)),
        ("short", np.full(10, 0.1, np.float32)),
        ("click", np.eye(1, 8000, 4000, dtype=np.float32)[0]),
    ],
)
def test_what_has_no_score_has_a_defined_one(name: str, clean: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    noisy = clean + 0.01
    given = [Pair(name, noisy, clean), noisy_pair("speech", "white", 5.0)]
    metrics = [metric for metric in METRICS if name == "silence" or metric not in (SI_SDR, SNR)]
    with caplog.at_level(logging.WARNING):
        found = noisy_scores(given, RATE, metrics)
    for metric in metrics:
        value = found[metric.name].per_unit[name]
        if metric == MSE:
            assert value == pytest.approx(1e-4)
            continue
        assert value == UNDEFINED[metric.name], metric.name
        assert f"{metric.name} is not defined for 1 ({name}): they count as {value:g}" in caplog.text
        # Whatever was made of it.
        assert (
            enhancement_scores(given, {name: clean, "speech": given[1].clean}, RATE, [metric])[metric.name].per_unit[
                name
            ]
            == UNDEFINED[metric.name]
        )


def test_silent_results_have_the_lowest_scores() -> None:
    one = noisy_pair("a", "white", 5.0)
    found = enhancement_scores([one], {"a": 0 * one.clean}, RATE)
    assert {name: score.value for name, score in found.items()} == {
        "PESQ": 0.999,
        "PESQ-nb": 0.999,
        "STOI": pytest.approx(0, abs=1e-3),
        "SI-SDR": -100,
        "SNR": 0,
        "MSE": pytest.approx(np.mean(one.clean.astype(float) ** 2)),
    }


@pytest.mark.parametrize(
    ("enhanced", "message"),
    [
        (None, "a was not enhanced"),
        (lambda wave: wave[1:], r"a: expected \(16000,\) enhanced samples of one channel, found \(15999,\)"),
        (lambda wave: wave[:, None], r"found \(16000, 1\)"),
        (lambda wave: wave * np.nan, r"a: what was made of it holds values that are not finite"),
        (lambda wave: np.where(np.arange(16000) == 7, -np.inf, wave), "not finite"),
    ],
)
def test_broken_results_are_named(enhanced: object, message: str) -> None:
    one = noisy_pair("a", "white", 5.0)
    found = {} if enhanced is None else {"a": enhanced(one.clean)}
    with pytest.raises(DataError, match=message):
        enhancement_scores([one], found, RATE, [MSE])
    with pytest.raises(DataError, match="a: the clean speech holds"):
        noisy_scores([replace(one, clean=one.clean * np.nan)], RATE, [MSE])


def test_rates_that_pesq_has_not() -> None:
    one = noisy_pair("a", "white", 5.0)
    with pytest.raises(UsageError, match="PESQ is defined at 16000 and 8000 Hz, not at 48000 Hz"):
        noisy_scores([one], 48000, [PESQ])
