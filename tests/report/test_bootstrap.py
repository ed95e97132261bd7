"""Intervals and paired p-values: where they can be said exactly, and against kaldialign's."""

import kaldialign
import numpy as np
import pytest

from kaldi_quant.decode.wer import count_edits
from kaldi_quant.errors import UsageError
from kaldi_quant.report.significance.bootstrap import Bootstrap, Interval
from tests.report.decode_folders import disturbed, real


def percent(errors: np.ndarray, words: np.ndarray, *options: int, **named: int) -> Bootstrap:
    return Bootstrap(errors, words, *options, **named, scale=100.0)


def test_draws_of_two_utterances() -> None:
    # Both, or one of them twice: 10, 20 or 30 % with probabilities 1/4, 1/2, 1/4.
    bootstrap = percent(np.array([[1], [3]]), np.array([10, 10]))
    assert bootstrap.interval(0) == Interval(10.0, 30.0)
    rates = bootstrap._scores[:, 0]
    shares = [np.mean(np.isclose(rates, rate)) for rate in (10, 20, 30)]
    assert sum(shares) == 1 and shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_rates_are_of_the_words_drawn() -> None:
    # 1 of 1 word and 1 of 9: drawn twice, each gives its own rate, together 2 of 10.
    bootstrap = percent(np.array([[1], [1]]), np.array([1, 9]))
    assert set(np.round(bootstrap._scores[:, 0], 4)) == {100.0, 20.0, 11.1111}


def test_what_is_common_cancels() -> None:
    random = np.random.default_rng(0)
    common = random.poisson(2, 300)
    bootstrap = percent(np.stack([common, common + 1, common], axis=1), np.full(300, 10))
    constant = bootstrap.compare(1, 0)
    assert constant.difference == pytest.approx(10) and constant.p_value == pytest.approx(2 / 10_001)
    assert (constant.interval.low, constant.interval.high) == pytest.approx((10, 10))
    equal = bootstrap.compare(2, 0)
    assert equal.difference == 0 and equal.p_value == 1 and equal.interval == Interval(0, 0)


def test_utterances_without_words_are_drawn_too() -> None:
    bootstrap = percent(np.array([[1], [0]]), np.array([0, 5]))
    assert np.isfinite(bootstrap._scores).all() and bootstrap.interval(0) == Interval(0.0, 20.0)


def test_many_draws_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.report.significance.bootstrap._DRAWN_AT_ONCE", 700)
    errors, words = np.arange(50)[:, None] % 4, np.full(50, 10)
    bootstrap = percent(errors, words, replications=1001)
    assert bootstrap._scores.shape == (1001, 1)
    # The standard error of a mean, which the draws must have.
    expected = 100 * errors.std() / 10 / np.sqrt(50)
    assert bootstrap._scores.std() == pytest.approx(expected, rel=0.1)


def test_kaldialign_agrees() -> None:
    references, first = real()
    first, second = disturbed(first, 0.02, 1), disturbed(first, 0.024, 2)
    order = list(references)
    errors = np.array([[count_edits(references[u], system[u]).total for system in (first, second)] for u in order])
    bootstrap = percent(errors, np.array([len(references[u]) for u in order]))
    theirs = kaldialign.bootstrap_wer_ci(
        [references[u] for u in order], [first[u] for u in order], [second[u] for u in order]
    )
    for system, name in enumerate(("system1", "system2")):
        interval = bootstrap.interval(system)
        # Theirs is the normal distribution's, from the same draws' deviation.
        assert interval.low == pytest.approx(100 * theirs[name]["ci95min"], abs=0.25)
        assert interval.high == pytest.approx(100 * theirs[name]["ci95max"], abs=0.25)
    worse = 1 - theirs["p_s2_improv_over_s1"]
    assert 0.8 < worse < 0.99
    assert bootstrap.compare(1, 0).p_value == pytest.approx(2 * (1 - worse), abs=0.02)
    assert bootstrap.compare(0, 1).p_value == bootstrap.compare(1, 0).p_value


def test_the_seed_decides() -> None:
    errors, words = np.arange(40)[:, None] % 5, np.full(40, 7)
    intervals = [percent(errors, words, 500, seed).interval(0) for seed in (0, 0, 1)]
    assert intervals[0] == intervals[1] != intervals[2]


def test_means_of_any_values() -> None:
    # Of two values either one is drawn twice, or both.
    bootstrap = Bootstrap(np.array([[-1.5], [2.5]]), np.ones(2))
    assert bootstrap.interval(0) == Interval(-1.5, 2.5)
    assert set(bootstrap._scores[:, 0]) == {-1.5, 0.5, 2.5}


def test_equal_values_differ_by_nothing_at_all() -> None:
    # Sums of such values depend on how they are added up; what is left of that must not look like a difference.
    random = np.random.default_rng(1)
    # Ten systems are more than are multiplied at once.
    for units in (17, 63):
        values = random.normal(14, 4, units)
        bootstrap = Bootstrap(np.stack([values] * 10, axis=1), np.ones(units), 500)
        for system in range(1, 10):
            found = bootstrap.compare(system, 0)
            assert (found.difference, found.interval, found.p_value) == (0.0, Interval(0.0, 0.0), 1.0)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(0, 3, 400), random.normal(0, 1, 400)
    bootstrap = Bootstrap(np.stack([first, first + second], axis=1), np.ones(400))
    found = bootstrap.compare(1, 0)
    assert found.difference == pytest.approx(second.mean())
    error = second.std() / np.sqrt(400)
    assert found.interval.low == pytest.approx(second.mean() - 1.96 * error, abs=0.1 * error)
    assert found.interval.high == pytest.approx(second.mean() + 1.96 * error, abs=0.1 * error)


def test_errors() -> None:
    errors, words = np.ones((3, 1), int), np.ones(3, int)
    with pytest.raises(UsageError, match="--replications must be at least 100, found 10"):
        percent(errors, words, 10)
    with pytest.raises(UsageError, match="--seed cannot be negative, found -1"):
        percent(errors, words, 100, -1)


def test_pairs_share_the_chance_in_training() -> None:
    random = np.random.default_rng(0)
    hard = random.normal(0, 0.01, (50, 1))
    # Three trainings differ by much; what is made of each is a little worse than it.
    trained = hard + np.array([0.0, 1.0, 2.0])
    amounts = np.concatenate([trained, trained - 0.1], axis=1)
    bootstrap = Bootstrap(amounts, np.ones(50), 1000)
    paired, apart = (compare([3, 4, 5], [0, 1, 2]) for compare in (bootstrap.compare_pairs, bootstrap.compare_means))
    assert paired.difference == apart.difference == pytest.approx(-0.1)
    assert paired.interval.low == pytest.approx(-0.1) == paired.interval.high and paired.p_value < 0.01
    assert apart.interval.low < -0.5 and apart.interval.high > 0.3 and apart.p_value > 0.1
