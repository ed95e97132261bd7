"""Models that a search really makes: neighbours, word errors, what is kept of them, and how one is chosen."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.model import Model
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search import measurements, outcome
from kaldi_quant.quant.search.allocation import LEAST_CHANGE, Allocation, InputGroup, Option, Problem, allocate
from kaldi_quant.quant.search.measurements import Choice, MeasuredModel, Measurement, Store, WordErrors
from kaldi_quant.quant.search.measuring import Meter
from kaldi_quant.quant.search.options import Budget, SearchOptions, parse_budget
from kaldi_quant.quant.search.outcome import (
    Models,
    Outcome,
    Scorer,
    Scoring,
    configuration_digest,
    find,
    rank,
    smallest_within,
)
from kaldi_quant.quant.search.search import Search
from tests.quant.searches import fresh, make_search, written
from tests.references import NNET3, load, model_file, read_archive

# Words of the development data, and errors of the float model in them.
WORDS, FLOAT_ERRORS = 1000, 100


@pytest.fixture(scope="module")
def small() -> tuple[Model, list[tuple[str, np.ndarray]]]:
    """A small TDNN-F with bypasses, and features for it."""
    model = load(model_file(NNET3 / "tdnnf_small"))
    return model, list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())[:2]


@pytest.fixture(scope="module")
def measured(small: tuple[Model, list[tuple[str, np.ndarray]]], tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A search after its measurements; not to be changed."""
    search = make_search(*small, tmp_path_factory.mktemp("search"), SearchOptions((2, 4, 8)))
    list(search.measure())
    return search


class Words:
    """Stands for decoding: errors grow with the divergence."""

    def __init__(self, search: Search) -> None:
        self.data, self.calls = search.meter.data, 0
        self.reference = dict(Scoring(self.data, self)._rows(search.meter.host.executable()))

    def __call__(self, rows: Iterable[tuple[str, np.ndarray]]) -> WordErrors:
        self.calls += 1
        found = [(KullbackLeibler().sum(self.reference[name], matrix), len(matrix)) for name, matrix in rows]
        lost = sum(part[0] for part in found) / sum(part[1] for part in found)
        return WordErrors(FLOAT_ERRORS + int(1e4 * lost), WORDS)


def with_words(measured: Search, path: Path, score: Scorer | None = None) -> tuple[Models, Words]:
    words = Words(measured)
    return Models(fresh(measured, path), Scoring(words.data, score or words)), words


# Neighbours.


def share_that_differs(one: Allocation, other: Allocation) -> float:
    weights = {name: option.weight_bits / option.bits for name, option in one.layers.items()}
    return sum(weights[name] for name in weights if one.layers[name] != other.layers[name]) / sum(weights.values())


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_the_best_that_differ_enough(seed: int) -> None:
    random = np.random.default_rng(seed)
    layers = {}
    for name, weights in zip("abcd", (1000, 900, 800, 90), strict=True):
        layers[name] = [
            Option(b, 8, weights * b // 8, weights * b, float(random.random() * 4.0**-b)) for b in (2, 3, 4)
        ]
    problem, limits = Problem(layers, [InputGroup(tuple(layers), {8: 0.0})]), {"bytes": 1100.0}
    choices = [Allocation(dict(zip(layers, one, strict=True)), (8,), {}) for one in itertools.product(*layers.values())]
    known: list[Allocation] = []
    while found := allocate(problem, "divergence", limits, known):  # type: ignore[arg-type]
        allowed = [
            sum(option.divergence for option in one.layers.values())
            for one in choices
            if sum(option.bytes for option in one.layers.values()) <= limits["bytes"]
            and all(share_that_differs(one, other) >= LEAST_CHANGE for other in known)
        ]
        assert found.totals["divergence"] == pytest.approx(min(allowed))
        known.append(found)
        if len(known) == 5:
            break
    assert len(known) == 5


def test_proposals_keep_to_the_budget_and_end_where_there_are_no_more(measured: Search) -> None:
    for text in ("4 bits", "0.05 nats"):
        found = measured.proposals(parse_budget(text), 4)
        assert len(found) == 4
        for one, other in itertools.combinations(found, 2):
            assert share_that_differs(one.allocation, other.allocation) >= LEAST_CHANGE
        values = [proposal.divergence if "bits" in text else proposal.bytes for proposal in found]
        # Sizes differ by digits of what the file says of itself.
        assert all(later >= earlier - 8 for earlier, later in itertools.pairwise(values))
        assert all(proposal.bits <= 4 if "bits" in text else proposal.divergence <= 0.05 for proposal in found)
    best = measured.propose(parse_budget("4 bits"))
    budget = Budget("bytes", best.bytes, "")
    assert all(proposal.bytes <= best.bytes for proposal in measured.proposals(budget, 3))
    assert len(measured.proposals(parse_budget("2 bits"), 3)) == 1


# Models that are measured.


def chosen(models: Models, small: tuple[Model, object], path: Path, text: str, refine: int = 0) -> Outcome:
    def write(network: QuantizedNetwork, _: object) -> int:
        return written(small[0], path, network)

    return find(models, parse_budget(text), write, refine)


def test_fewest_word_errors_win(
    small: tuple[Model, list[tuple[str, np.ndarray]]], measured: Search, tmp_path: Path
) -> None:
    proposals = measured.proposals(parse_budget("4 bits"), 3)
    errors = iter([7, 5, 6])
    models, _ = with_words(measured, tmp_path, lambda rows: WordErrors(next(errors) + 0 * len(list(rows)), WORDS))
    found = chosen(models, small, tmp_path, "4 bits", 3)
    assert found.proposal == proposals[1]
    assert found.model.word_errors == WordErrors(5, WORDS)
    assert found.divergence == measured.meter.divergence(found.network)
    assert len(models.store.models) == 3
    assert found.bytes == found.model.bytes == measured.file_size(found.network, found.proposal.config)


def test_of_equals_the_lower_divergence_wins_and_what_was_not_decoded_comes_last() -> None:
    model = MeasuredModel("", {}, {}, 1, 0.2, WordErrors(5, WORDS))
    nearer, worse = replace(model, divergence=0.1), replace(model, divergence=0.05, word_errors=WordErrors(6, WORDS))
    silent = replace(model, divergence=0.0, word_errors=None)
    assert sorted([silent, model, worse, nearer], key=rank) == [nearer, model, worse, silent]


def test_nothing_is_measured_twice_even_when_killed(
    small: tuple[Model, list[tuple[str, np.ndarray]]],
    measured: Search,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measure, divergences = Meter.divergence, []

    def counted(meter: Meter, network: QuantizedNetwork) -> float:
        divergences.append(measure(meter, network))
        return divergences[-1]

    monkeypatch.setattr(Meter, "divergence", counted)
    counter = Words(measured)

    def killed(rows: Iterable[tuple[str, np.ndarray]]) -> WordErrors:
        if counter.calls == 2:
            raise KeyboardInterrupt
        return counter(rows)

    models, _ = with_words(measured, tmp_path, killed)
    models.float_errors()
    with pytest.raises(KeyboardInterrupt):
        chosen(models, small, tmp_path, "4 bits", 3)
    models, words = with_words(measured, tmp_path)
    models.search.measuring.store = models.store = Store(tmp_path / "measurements.json", models.store.about)
    assert models.float_errors() == WordErrors(FLOAT_ERRORS, WORDS)
    found = chosen(models, small, tmp_path, "4 bits", 3)
    assert (counter.calls, words.calls, len(divergences)) == (2, 2, 3)
    assert found.model in models.store.models.values()
    chosen(models, small, tmp_path, "4 bits", 3)
    assert (words.calls, len(divergences)) == (2, 3)


def test_a_broken_model_is_not_decoded(
    small: tuple[Model, list[tuple[str, np.ndarray]]],
    measured: Search,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measurements, "MOST_NATS", 1e-9)
    models, words = with_words(measured, tmp_path)
    found = chosen(models, small, tmp_path, "4 bits", 2)
    assert words.calls == 0
    assert "not decoded" in found.model.as_dict()["note"]
    assert found.model == min(models.store.models.values(), key=lambda model: model.divergence)
    assert not MeasuredModel("", {}, {}, 1, float("nan")).can_be_decoded
    with pytest.raises(UsageError, match=r"has too great a divergence to be decoded, the float model 10\.00 %WER"):
        smallest_within(models, parse_budget("5 %WER"))


def test_the_smallest_within_a_word_error_rate(
    measured: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "FRONT_POINTS", 8)
    models, words = with_words(measured, tmp_path)
    front = measured.front(8, "")
    rates = [errors.percent for point in front if (errors := models.measured(point).word_errors)]
    assert rates[0] > rates[-1] + 1
    most = (rates[0] + rates[-1]) / 2
    # As many models as bisection needs, and the float one.
    models, words = with_words(measured, tmp_path)
    found = smallest_within(models, Budget("wer", most - 100 * FLOAT_ERRORS / WORDS, ""))
    assert words.calls <= 2 + int(np.ceil(np.log2(len(front))))
    place = [configuration_digest(point) for point in front].index(configuration_digest(found))
    assert rates[place] <= most < rates[place - 1]
    with pytest.raises(
        UsageError, match=r"meets the budget of 0 %WER: the closest takes \d+ bytes and has 1\d\.\d\d %WER"
    ):
        smallest_within(models, parse_budget("0 %WER"))


# What is kept.


def test_word_errors_belong_to_a_graph_and_divergences_do_not(tmp_path: Path) -> None:
    path, about = tmp_path / "measurements.json", {"model": "a"}
    measurement = Measurement(Choice("weights", "tdnn1", 4, "measured"), 0.1)
    model = MeasuredModel("digest", {"tdnn1": 4}, {"tdnn1": 8}, 100, 0.1)
    Store(path, about).add(measurement)
    content = json.loads(path.read_text())
    del content["models"]  # as before models were kept
    path.write_text(json.dumps(content))
    store = Store(path, about, {"graph": "b", "text": "c"})
    assert store.measurements == {measurement.key: measurement}
    store.add_model(model)
    store.add_model(replace(model, word_errors=WordErrors(1, 2)))
    store.add_float(WordErrors(3, 4))
    Store(path, about).add(measurement)
    again = Store(path, about, {"graph": "b", "text": "c"})
    assert list(again.models.values()) == [replace(model, word_errors=WordErrors(1, 2))]
    assert again.float_errors == WordErrors(3, 4)
    other = Store(path, about, {"graph": "b", "text": "d"})
    assert (other.find(measurement.key), other.models, other.float_errors) == (measurement, {}, None)
