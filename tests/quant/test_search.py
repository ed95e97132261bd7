"""The search for widths: exact optima, exact sizes, candidates that are what they are said to be."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.formats.layer_tensors import layer_tensors
from kaldi_quant.formats.sizes import bits_per_weight
from kaldi_quant.kaldi.model import Model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.text import decode
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet, utterances_digest
from kaldi_quant.progress import Advance
from kaldi_quant.quant import ptq
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grouped import quadratic
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search import candidates as candidates_module
from kaldi_quant.quant.search import measuring as measuring_module
from kaldi_quant.quant.search.allocation import (
    Allocation,
    InputGroup,
    Option,
    Problem,
    Quantity,
    allocate,
    pareto_front,
)
from kaldi_quant.quant.search.candidates import Candidates
from kaldi_quant.quant.search.measurements import Choice, Measurement, Store
from kaldi_quant.quant.search.measuring import Meter, told
from kaldi_quant.quant.search.options import (
    FLOAT_BITS,
    Budget,
    BudgetKind,
    Estimate,
    SearchOptions,
    Widths,
    listed,
    parse_budget,
    parse_widths,
    with_widths,
)
from kaldi_quant.quant.search.outcome import Models, find
from kaldi_quant.quant.search.search import Proposal, Search
from kaldi_quant.quant.search.second_order import SecondOrder, _rounding, _RoundingErrors, fisher_information
from kaldi_quant.quant.slots import watched
from tests.quant.searches import FAST, OPTIONS, fresh, make_search, written
from tests.references import NNET3, load, model_file, read_archive


@pytest.fixture(scope="module")
def utterances(example: Path) -> list[tuple[str, np.ndarray]]:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [(name, feats[:100]) for (name, feats), _ in zip(table, range(2), strict=False)]


@pytest.fixture(scope="module")
def tdnn1a(example: Path) -> Model:
    return load(example / "exp/chain/tdnn1a_sp/final.mdl")


@pytest.fixture(scope="module")
def small() -> tuple[Model, list[tuple[str, np.ndarray]]]:
    """A small TDNN-F with bypasses, and features for it."""
    model = load(model_file(NNET3 / "tdnnf_small"))
    return model, list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())[:2]


@pytest.fixture(scope="module")
def measured(
    small: tuple[Model, list[tuple[str, np.ndarray]]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Search, Proposal, Proposal]:
    """A search after its measurements, and what is smallest and what is best; not to be changed."""
    search = make_search(*small, tmp_path_factory.mktemp("search"), SearchOptions((2, 4, 8)))
    list(search.measure())
    smallest, best = (search.proposal(point, "") for point in pareto_front(search.cost_model.problem, 9)[::8])
    return search, smallest, best


# Budgets and lists of widths.


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("1 MB", "bytes", 1e6),
        ("800 kB", "bytes", 8e5),
        (" 300000 bytes ", "bytes", 3e5),
        ("1.5MiB", "bytes", 1.5 * 2**20),
        ("3.2 bits", "bits", 3.2),
        ("3bits", "bits", 3.0),
        ("0.05 nats", "nats", 0.05),
        (".05 nats", "nats", 0.05),
    ],
)
def test_budgets(text: str, kind: str, amount: float) -> None:
    assert parse_budget(text) == Budget(kind, amount, text.strip())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "3", "bits", "-1 bits", "3 words", "3 bits 4", "0 bytes", "1e3 bytes", "nan nats"]
)
def test_other_budgets_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match=r"give a size .* mean bits per weight .* largest divergence"):
        parse_budget(text)


def test_lists_of_widths() -> None:
    assert parse_widths("4, 2,4,8", "--widths") == (2, 4, 8)
    assert parse_widths("3,float", "--widths", with_float=True) == (3, FLOAT_BITS)
    assert listed((2, 3, FLOAT_BITS)) == "2 or 3 bits or float"
    for wrong in ("", "2,,3", "two", "float"):
        with pytest.raises(UsageError, match=r"--widths .*expected widths from 2 to 16"):
            parse_widths(wrong, "--widths")
    with pytest.raises(UsageError, match="a width of 17 bits is not possible"):
        parse_widths("17", "--widths")
    with pytest.raises(UsageError, match="with only 8 bits there is nothing to choose"):
        SearchOptions((8,))


# Allocation.


def random_problem(seed: int) -> Problem:
    """3 to 5 layers, some of which share their grids, in up to 4 widths of weights and 2 of inputs."""
    random = np.random.default_rng(seed)
    names = [f"layer{i}" for i in range(random.integers(3, 6))]
    act_widths = (4, 8) if seed % 2 else (8,)
    layers = {}
    for name in names:
        weights, rows = int(random.integers(10, 2000)), random.random() + 0.1
        options = []
        for bits in (2, 3, 5, FLOAT_BITS):
            # Noise of measurements: some wider ones are no better.
            divergence = random.random() * 4.0**-bits + random.normal() * 1e-3
            for act_bits in act_widths if bits != FLOAT_BITS else (FLOAT_BITS,):
                work = weights * rows * bits * act_bits
                options.append(Option(bits, act_bits, weights * bits // 8 + 7, weights * bits, divergence, work))
        layers[name] = options
    cut = int(random.integers(1, len(names)))
    parts = [tuple(names[:cut]), tuple(names[cut:])]
    groups = [InputGroup(part, {bits: random.random() * 2.0**-bits for bits in act_widths}) for part in parts]
    return Problem(layers, groups)


def all_totals(problem: Problem) -> list[dict[Quantity, float]]:
    """What every choice adds up to."""
    found = []
    for act_bits in itertools.product(*(group.divergence for group in problem.groups)):
        asked = {name: bits for group, bits in zip(problem.groups, act_bits, strict=True) for name in group.layers}
        choices = [
            [option for option in options if option.bits == FLOAT_BITS or option.act_bits == asked[name]]
            for name, options in problem.layers.items()
        ]
        of_inputs = sum(group.divergence[bits] for group, bits in zip(problem.groups, act_bits, strict=True))
        for chosen in itertools.product(*choices):
            found.append(
                {
                    "bytes": float(sum(option.bytes for option in chosen)),
                    "weight_bits": float(sum(option.weight_bits for option in chosen)),
                    "divergence": of_inputs + sum(option.divergence for option in chosen),
                    "bit_operations": sum(option.bit_operations for option in chosen),
                }
            )
    return found  # type: ignore[return-value]


def best_by_hand(
    totals: list[dict[Quantity, float]], minimised: Quantity, limits: Mapping[Quantity, float]
) -> float | None:
    fitting = [one[minimised] for one in totals if all(one[name] <= limit for name, limit in limits.items())]
    return min(fitting, default=None)


@pytest.mark.parametrize("seed", range(8))
def test_allocations_are_the_best_of_all(seed: int) -> None:
    problem, random = random_problem(seed), np.random.default_rng(seed)
    totals = all_totals(problem)

    def limit(name: Quantity, share: float) -> float:
        values = [one[name] for one in totals]
        return min(values) + share * (max(values) - min(values))

    cases: list[tuple[Quantity, dict[Quantity, float]]] = []
    for share in random.random(3):
        cases += [
            ("divergence", {"bytes": limit("bytes", share)}),
            ("divergence", {"weight_bits": limit("weight_bits", share)}),
            ("bytes", {"divergence": limit("divergence", share)}),
            ("divergence", {"bytes": limit("bytes", 0.7), "bit_operations": limit("bit_operations", share)}),
            ("divergence", {"bytes": limit("bytes", 0.01), "bit_operations": limit("bit_operations", share / 100)}),
        ]
    cases += [("divergence", {"bytes": limit("bytes", 0.0)}), ("bytes", {"divergence": limit("divergence", 0.0)})]
    cases += [("divergence", {"bytes": limit("bytes", 0.0) - 1})]
    for minimised, limits in cases:
        found, best = allocate(problem, minimised, limits), best_by_hand(totals, minimised, limits)
        assert (found is None) == (best is None)
        if found is not None and best is not None:
            assert found.totals[minimised] == pytest.approx(best, rel=1e-9, abs=1e-12)
            assert all(found.totals[name] <= value + 1e-9 * abs(value) for name, value in limits.items())
            check_consistency(problem, found)


def check_consistency(problem: Problem, found: Allocation) -> None:
    """Totals are of the options, and layers that share their grids agree."""
    assert found.totals["bytes"] == sum(option.bytes for option in found.layers.values())
    for group, bits in zip(problem.groups, found.act_bits, strict=True):
        assert {found.layers[name].act_bits for name in group.layers} <= {bits, FLOAT_BITS}


def test_small_differences_of_divergence_count() -> None:
    # A solver's default gap, relative or absolute, would take either.
    options = [Option(8, 8, 10, 10, 3e-9), Option(7, 8, 10, 10, 2e-9), Option(2, 8, 1, 1, 1.0)]
    problem = Problem({"a": options, "b": options}, [InputGroup(("a", "b"), {8: 0.0})])
    found = allocate(problem, "divergence", {"bytes": 20})
    assert found is not None
    assert {option.bits for option in found.layers.values()} == {7}


def test_no_point_of_the_front_is_beaten_by_another() -> None:
    problem = random_problem(3)
    totals = all_totals(problem)
    front = pareto_front(problem, 12)
    sizes, divergences = ([point.totals[name] for point in front] for name in ("bytes", "divergence"))
    assert len(front) > 4
    assert sizes == sorted(set(sizes))
    assert divergences == sorted(set(divergences), reverse=True)
    assert sizes[0] == min(one["bytes"] for one in totals)
    assert divergences[-1] == pytest.approx(min(one["divergence"] for one in totals))
    least = min(one["bit_operations"] for one in totals)
    assert pareto_front(problem, 5, {"bit_operations": least - 1}) == []


# Candidates.


def rows_of(network: QuantizedNetwork, utterances: list[tuple[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([rows for _, rows in Inference(network.model(), None, OPTIONS).compute(utterances)])


@pytest.mark.parametrize("name", ["tdnnf_small", "tdnn_lda", "fast_lstm", "conv_usual"])
def test_candidates_are_what_quantization_makes_of_their_configuration(name: str) -> None:
    model = load(model_file(NNET3 / name))
    utterances = list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())[:2]
    data = UtteranceSet(utterances, OPTIONS)
    candidates = Candidates(Nnet3Source(model.nnet), FAST, data, Widths(8, 8))
    names = list(candidates.base.layers)
    assert sorted(name for group in candidates.input_groups for name in group) == sorted(names)
    widths = dict.fromkeys(names, Widths(8, 8))
    group = candidates.input_groups[-1]
    cases = {
        "weights": (candidates.with_weights(names[0], 3), {names[0]: Widths(3, 8)}),
        "float": (candidates.with_weights(names[-1], FLOAT_BITS), {names[-1]: Widths(FLOAT_BITS, 8)}),
        "inputs": (candidates.with_inputs(group, 4), dict.fromkeys(group, Widths(8, 4))),
    }
    base = rows_of(candidates.base, utterances)
    for what, (network, changed) in cases.items():
        made = quantize(model.nnet, with_widths(FAST, candidates.kinds, {**widths, **changed}), data)
        rows = rows_of(network, utterances)
        np.testing.assert_array_equal(rows, rows_of(made, utterances), err_msg=what)
        assert np.abs(rows - base).max() > 0, what


def test_channels_that_were_rescaled_stay_so(small: tuple[Model, list[tuple[str, np.ndarray]]]) -> None:
    model, utterances = small
    config = replace(FAST, equalization="cle")
    data = UtteranceSet(utterances, OPTIONS)
    candidates = Candidates(Nnet3Source(model.nnet), config, data, Widths(8, 8))
    layers = {name: candidates.with_weights(name, 16).layers[name] for name in candidates.base.layers}
    other = replace(candidates.base, layers=layers)
    for name, layer in other.layers.items():
        wide, narrow = layer.dequantized_weight(), candidates.base.layers[name].dequantized_weight()
        assert float((wide - narrow).norm() / wide.norm()) < 0.02
    assert Meter(candidates.base.host, data).divergence(other) < 0.01


def test_every_layer_is_named_in_the_result(small: tuple[Model, list[tuple[str, np.ndarray]]]) -> None:
    model, utterances = small
    config = replace(FAST, layers={"@input": {"bits": 8, "act_bits": 8}, "@output": {"float_reason": "wanted"}})
    candidates = Candidates(Nnet3Source(model.nnet), config, UtteranceSet(utterances, OPTIONS), Widths(8, 8))
    names = list(candidates.base.layers)
    widths = {name: Widths(2 + number % 4, 8) for number, name in enumerate(names)}
    made = with_widths(replace(config, sequential=True), candidates.kinds, widths, "chosen").for_layers(
        candidates.kinds
    )
    assert {name: made[name].bits for name in names} == {name: found.bits for name, found in widths.items()}
    assert not any(made[name].symmetric for name in names if made[name].bits < 5)
    assert [name for name, layer in made.items() if layer.float_reason] == [*candidates.base.float_layers]


# Measurements.


def test_a_killed_search_measures_nothing_twice(
    small: tuple[Model, list[tuple[str, np.ndarray]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []
    divergence = Meter.divergence

    def counted(meter: Meter, network: QuantizedNetwork) -> float:
        measured.append(divergence(meter, network))
        return measured[-1]

    monkeypatch.setattr(Meter, "divergence", counted)
    options = SearchOptions((2, 4, 8), (4, 8))
    begun = make_search(*small, tmp_path, options)
    total = len(begun.measuring.choices())
    layers, groups = len(begun.candidates.base.layers), len(begun.candidates.input_groups)
    assert total == 1 + 2 * layers + groups
    steps = begun.measure()
    first = [next(steps) for _ in range(4)]
    steps.close()  # as if it was killed
    assert len(json.loads((tmp_path / "measurements.json").read_text())["measurements"]) == 4
    found = list(make_search(*small, tmp_path, options).measure())
    assert {one.choice for one in found[:4]} == {one.choice for one in first}
    assert set(found) >= set(first)
    assert len(found) == len(measured) == total
    list(make_search(*small, tmp_path, replace(options, widths=(2, 3, 4, 8))).measure())
    assert len(measured) == total + layers


def test_what_candidates_share_is_found_once(
    small: tuple[Model, list[tuple[str, np.ndarray]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    begun: list[str] = []

    def counting(module: object, name: str) -> None:
        function = getattr(module, name)

        def counted(*args: object, **kwargs: object) -> object:
            calls.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    @contextmanager
    def told_progress(total: int, what: str, *_: str, brief: bool) -> Iterator[Advance]:
        def advance(number: int, current: str = "", /) -> None:
            begun.extend([current] if current else [])

        yield advance
        assert len(begun) == total

    search = make_search(*small, tmp_path, SearchOptions((2, 4, 8, FLOAT_BITS), (4, 6, 8)))
    counting(candidates_module, "input_statistics")
    counting(ptq, "observe")
    monkeypatch.setattr(measuring_module, "progress", told_progress)
    list(search.measure())
    # For widths of inputs that are not the base's, nodes are looked at once more.
    assert sorted(calls) == ["input_statistics", "observe"]
    choices = search.measuring.choices()
    assert sorted(begun) == sorted(map(told, choices)) and begun[0] == "all layers in 8 bits"
    assert "output.affine with weights in float" in begun and "output.affine with inputs in 4 bits" in begun
    # What they were made of is large.
    assert not search.candidates._fits and not search.candidates._quantizers
    # In the file they are as they were asked for, whatever the order in which they were measured.
    assert begun != [told(choice) for choice in choices]
    kept = json.loads((tmp_path / "measurements.json").read_text())["measurements"]
    assert [Choice(*(entry[field] for field in Choice._fields)) for entry in kept] == choices


def test_measurements_of_something_else_are_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "measurements.json"
    measurement = Measurement(Choice("weights", "tdnn1", 4, "measured"), 0.1)
    Store(path, {"model": "a", "calibration set": "b"}).add(measurement)
    assert Store(path, {"model": "a", "calibration set": "b"}).measurements == {measurement.key: measurement}
    with caplog.at_level("INFO"):
        other = Store(path, {"model": "a", "calibration set": "c"})
    assert other.measurements == {} and f"{path} is measured again, as this has changed: calibration set" in caplog.text
    for text in ("{", "[]", '{"format": 3, "about": {}, "measurements": []}', '{"measurements": [{}], "about": {}}'):
        path.write_text(text)
        with pytest.raises(DataError, match="is not a file of width measurements"):
            Store(path, {"model": "a"})


def test_digests_are_of_what_utterances_hold() -> None:
    one, other = np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)
    assert utterances_digest([("a", one)]) == utterances_digest([("a", one.copy())])
    assert len({utterances_digest([entry]) for entry in (("a", one), ("b", one), ("a", other), ("a", one + 1))}) == 4
    assert utterances_digest([(decode(b"\xe4"), one)]) != utterances_digest([(decode(b"\xe5"), one)])


# Second-order estimates.


def test_the_fisher_information_at_the_output_is_that_of_the_softmax(
    small: tuple[Model, list[tuple[str, np.ndarray]]],
) -> None:
    model, utterances = small
    data = UtteranceSet(utterances, OPTIONS)
    host = Candidates(Nnet3Source(model.nnet), FAST, data, Widths(8, 8)).base.host
    samples = [fisher_information(host, ["output.affine"], data, seed)["output.affine"] for seed in range(8)]
    found = sum(samples, torch.zeros(())) / len(samples)
    rows = np.concatenate([rows for _, rows in data.outputs(host.executable())])
    p = torch.softmax(torch.from_numpy(rows).double(), dim=1)
    expected = torch.diag(p.mean(0)) - p.T @ p / len(p)
    assert float((found - expected).norm() / expected.norm()) < 0.3
    assert float(found.trace()) == pytest.approx(float(expected.trace()), rel=0.1)


@pytest.mark.parametrize("ranges", ["static", "dynamic"])
def test_estimates_are_near_measurements(tmp_path: Path, ranges: str) -> None:
    model, costs = load(model_file(NNET3 / "tdnn_lda")), {}
    utterances = list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())
    config = replace(FAST, default=replace(FAST.default, ranges=ranges))
    estimates: tuple[Estimate, ...] = ("measured", "second-order")
    for estimate in estimates:
        options = SearchOptions((4, 8), (4, 8), estimate=estimate)
        search = make_search(model, utterances, tmp_path, options, config)
        found = sorted((one for one in search.measure() if one.choice.kind != "base"), key=lambda one: one.choice)
        costs[estimate] = np.array([one.divergence for one in found])
        kinds = np.array([one.choice.kind for one in found])
    for kind in ("weights", "inputs"):
        measured, estimated = (costs[how][kinds == kind] for how in estimates)
        assert np.corrcoef(np.log(measured), np.log(estimated))[0, 1] > 0.9
        assert np.abs(np.log(estimated / measured)).max() < np.log(2)


@pytest.mark.parametrize("name", ["tdnnf_small", "fast_lstmp"])
def test_one_run_shows_the_rounding_of_all_inputs(name: str) -> None:
    model = load(model_file(NNET3 / name))
    feats = [(key, rows[:30]) for key, rows in read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items()]
    data = UtteranceSet(feats[:2], InferenceOptions(ChunkOptions(3), batch_seconds=0.3))
    config = replace(FAST, layers={"output.affine": {"ranges": "dynamic"}})
    candidates = Candidates(Nnet3Source(model.nnet), config, data, Widths(8, 8))
    networks = {
        layer: [candidates.base, candidates.on_grids(group, 4)] for group in candidates.input_groups for layer in group
    }
    host = candidates.base.host
    found = SecondOrder(host, networks, data, memory=10_000)
    costs = found.of_inputs(networks)
    assert sorted(costs) == sorted(networks)
    for layer, of_layer in networks.items():
        for network, cost in zip(of_layer, costs[layer], strict=True):
            float_model = host.executable()
            float_model.batches_of_one_length = True
            errors = _RoundingErrors(_rounding(network, layer, data.device), host.weight(layer).shape[1], 1)
            with watched(float_model, {layer: errors.see}):
                data.run(float_model)
            weight = host.weight(layer).double()
            assert cost == 0.5 * float((found.fisher[layer] * quadratic(weight, errors.covariance)).sum())
        assert costs[layer][1] > costs[layer][0] > 0


# The whole search.


def test_sizes_are_right_to_the_byte(tdnn1a: Model, utterances: list[tuple[str, np.ndarray]], tmp_path: Path) -> None:
    search = make_search(tdnn1a, utterances, tmp_path, SearchOptions((2, 3, 8, FLOAT_BITS)))
    list(search.measure())
    candidates, names = search.candidates, list(search.candidates.base.layers)
    mixed = {name: Widths((2, 3, 8)[number % 3], 8) for number, name in enumerate(names)}
    for widths in (
        dict.fromkeys(names, Widths(2, 8)),
        dict.fromkeys(names, Widths(3, 8)),
        mixed,
        {**mixed, names[3]: Widths(FLOAT_BITS, FLOAT_BITS)},
    ):
        config = with_widths(FAST, candidates.kinds, widths)
        network = quantize(tdnn1a.nnet, config, candidates.calibration)
        assert search.cost_model.size(widths, config) == written(tdnn1a, tmp_path, network)
        for name, layer in network.layers.items():
            options = search.cost_model.problem.layers[name]
            size = sum(tensor.nbytes for tensor in layer_tensors(name, layer)[0].values())
            assert [option.bytes for option in options if option.bits == layer.weight.spec.bits] == [size]


@pytest.mark.parametrize("kind", ["bytes", "bits", "nats"])
def test_a_budget_is_kept(
    small: tuple[Model, list[tuple[str, np.ndarray]]],
    measured: tuple[Search, Proposal, Proposal],
    tmp_path: Path,
    kind: BudgetKind,
) -> None:
    model, (search, smallest, best) = small[0], measured
    amounts = {
        "bytes": (smallest.bytes + best.bytes) // 2,
        "bits": 3.3,
        "nats": (smallest.divergence + best.divergence) / 2,
    }
    budget = Budget(kind, amounts[kind], "")
    found = find(Models(fresh(search, tmp_path)), budget, lambda network, _: written(model, tmp_path, network))
    reached = {"bytes": found.bytes, "bits": bits_per_weight(found.network), "nats": found.proposal.divergence}
    assert 0.5 * budget.amount < reached[kind] <= budget.amount
    assert bits_per_weight(found.network) == pytest.approx(found.proposal.bits)
    assert found.bytes == found.proposal.bytes
    assert smallest.bytes < found.bytes < best.bytes


def test_a_file_that_is_too_large_is_made_smaller(
    small: tuple[Model, list[tuple[str, np.ndarray]]], measured: tuple[Search, Proposal, Proposal], tmp_path: Path
) -> None:
    model, (search, smallest, best) = small[0], measured
    budget = Budget("bytes", search.propose(Budget("bytes", (smallest.bytes + best.bytes) // 2, "")).bytes, "")
    sizes: list[int] = []

    def larger(network: QuantizedNetwork, _: PtqConfig) -> int:
        sizes.append(written(model, tmp_path, network) + 1000)
        return sizes[-1]

    assert find(Models(fresh(search, tmp_path)), budget, larger).bytes <= budget.amount
    assert sizes[0] == budget.amount + 1000
    assert len(sizes) == 2


def test_budgets_that_nothing_meets_name_the_closest(measured: tuple[Search, Proposal, Proposal]) -> None:
    search, smallest, best = measured
    sentence = "no allocation of 2, 4 or 8 bits meets the budget of "
    with pytest.raises(UsageError, match=rf"{sentence}100 bytes: the closest takes {smallest.bytes} bytes"):
        search.propose(parse_budget("100 bytes"))
    with pytest.raises(UsageError, match=rf"{sentence}1.9 bits: the closest has 2 bits per weight"):
        search.propose(parse_budget("1.9 bits"))
    with pytest.raises(UsageError, match=rf"the closest is predicted to diverge by {best.divergence:.4g} nats"):
        search.propose(parse_budget("0.0000001 nats"))
    limited = copy.copy(search)
    limited.options = replace(search.options, max_bit_operations=1e3)
    with pytest.raises(UsageError, match=r"keeps to 0.001 million bit operations per frame: the closest has"):
        limited.propose(parse_budget("4 bits"))
    assert search.propose(Budget("bytes", smallest.bytes, "")).bytes == smallest.bytes


def test_bit_operations_are_limited(small: tuple[Model, list[tuple[str, np.ndarray]]], tmp_path: Path) -> None:
    search = make_search(*small, tmp_path, SearchOptions((2, 8), (4, 8)))
    list(search.measure())
    free = search.propose(parse_budget("8 bits")).allocation
    search.options = replace(search.options, max_bit_operations=free.totals["bit_operations"] / 3)
    found = search.propose(parse_budget("8 bits")).allocation
    assert found.totals["bit_operations"] <= free.totals["bit_operations"] / 3
    assert found.totals["divergence"] > free.totals["divergence"]
    check_consistency(search.cost_model.problem, found)


def test_layers_that_all_stay_in_float_leave_nothing_to_choose(
    small: tuple[Model, list[tuple[str, np.ndarray]]], tmp_path: Path
) -> None:
    config = PtqConfig(LayerConfig(float_reason="wanted so"))
    with pytest.raises(UsageError, match=r"no layer can be quantized, .* no widths to choose from \(.*: wanted so"):
        make_search(*small, tmp_path, SearchOptions((2, 8)), config)


@pytest.mark.parametrize("name", ["tdnnf", "tdnn_lstm"])
def test_other_topologies(shared: Path, tmp_path: Path, name: str) -> None:
    model = load(shared / "parity" / name / "final.mdl")
    utterances = [(name, feats[:60]) for name, feats in list(read_archive(shared / "parity/feats.ark").items())[:1]]
    search = make_search(model, utterances, tmp_path, SearchOptions((2, 4), base_bits=4))
    list(search.measure())
    found = find(Models(search), parse_budget("3 bits"), lambda network, _: written(model, tmp_path, network))
    assert bits_per_weight(found.network) <= 3
    assert {layer.weight.spec.bits for layer in found.network.layers.values()} == {2, 4}
    assert found.bytes == found.proposal.bytes
