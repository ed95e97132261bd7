"""Learned widths: gradients of shares, the budget, what matters gets more bits, and what was killed goes on."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.cli.main import run
from kaldi_quant.cli.recipes.quantized_training import run_tdnn_qat
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.artefact import load as load_artefact
from kaldi_quant.formats.sizes import bits_per_weight
from kaldi_quant.kaldi.model import Model
from kaldi_quant.kaldi.tables import matrix_writer
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.linear_components import weight_of
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source, nnet_of
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig, read_config
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.search.options import parse_budget
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.loss import Loss
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.learned_widths import (
    LearnedWidths,
    WidthOptions,
    allocated,
    learn_widths,
)
from kaldi_quant.train.qat.mixed_widths import MixedNetwork, MixedProduct, WidthShares
from kaldi_quant.train.qat.size_penalty import PenalizedSource, SizePenalty
from kaldi_quant.train.schedules import Constant, Plateau
from kaldi_quant.train.steps import Source
from tests.references import NNET3, load, model_file, read_archive
from tests.train.fake_quantized import OPTIONS, SUBSAMPLING, rows

torch.set_num_threads(1)

FAST = PtqConfig(LayerConfig(method="minmax"), observer="minmax")
WIDTHS = (2, 3, 4, 8)
LOOP = LoopOptions(OptimizerOptions(), schedule=Constant(1e-4))
Utterances = list[tuple[str, np.ndarray]]


@pytest.fixture(scope="module")
def small() -> tuple[Model, Utterances]:
    """A small TDNN-F with bypasses, and features for it."""
    model = load(model_file(NNET3 / "tdnnf_small"))
    return model, list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())


@pytest.fixture(scope="module")
def untrained(small: tuple[Model, Utterances]) -> MixedNetwork:
    """Of three bits in the mean; not to be changed."""
    model, utterances = small
    return MixedNetwork.of(Nnet3Source(model.nnet), FAST, UtteranceSet(utterances, OPTIONS), WIDTHS, 3.0)


@pytest.fixture
def mixed(untrained: MixedNetwork) -> MixedNetwork:
    return copy.deepcopy(untrained)


def teaching(model: Model, utterances: Utterances, passes: int) -> FeatureSource:
    options = FeatureOptions(passes, 2, frames=30)
    return FeatureSource(utterances, Distillation(AcousticModel(model.nnet)), options, SUBSAMPLING)


def learn(
    mixed: MixedNetwork,
    model: Model,
    source: Source,
    folder: Path,
    stop_after: int | None = None,
    loop: LoopOptions = LOOP,
) -> LearnedWidths | None:
    options = WidthOptions(parse_budget("3 bits"), WIDTHS)
    return learn_widths(mixed, model, source, options, FAST, loop, folder, {}, stop_after)


def products(mixed: MixedNetwork) -> dict[str, MixedProduct]:
    found = {name: product for name, product in mixed.network.products.items() if isinstance(product, MixedProduct)}
    assert found.keys() == mixed.network.products.keys()
    return found


@pytest.mark.parametrize("mean", [2.0, 2.01, 3.0, 5.5, 7.99, 8.0])
def test_shares_begin_where_the_budget_holds(mean: float) -> None:
    shares = WidthShares(WIDTHS, {"a": 1000, "b": 10}, mean)
    assert float(shares.mean_bits().detach()) == pytest.approx(mean, abs=1e-4)
    assert torch.equal(shares()[0], shares()[1])
    assert float(shares().sum().detach()) == pytest.approx(2)


def test_a_layer_with_one_width_alone_is_that_of_quantization_after_training(
    mixed: MixedNetwork, small: tuple[Model, Utterances]
) -> None:
    model, utterances = small
    for number, bits in enumerate(WIDTHS):
        with torch.no_grad():
            mixed.shares.logits.fill_(-1e4)[:, number] = 0.0
        config = PtqConfig(LayerConfig(bits=bits, method="minmax", symmetric=bits > 4), observer="minmax")
        quantized = quantize(model.nnet, config, UtteranceSet(utterances, OPTIONS))
        for name, product in products(mixed).items():
            found = product.weight(mixed.shares.of(name).detach()).detach()
            np.testing.assert_allclose(found, quantized.layers[name].dequantized_weight(), rtol=0, atol=1e-6)
        expected = rows(quantized.model(), utterances)
        # In float a value may fall on the other side of a half step here and there.
        assert np.median(np.abs(rows(mixed.network.model, utterances) - expected)) < 1e-4


def test_the_gradient_of_shares_is_that_of_finite_differences(mixed: MixedNetwork) -> None:
    shares = mixed.shares.double()
    shares.temperature.fill_(0.7)
    name, product = list(products(mixed).items())[1]
    product.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, product.steps.shape[1], dtype=torch.float64, generator=generator)
    target = torch.randn(5, len(product.steps), dtype=torch.float64, generator=generator)
    logits = torch.randn(shares.logits.shape, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        shares.logits.copy_(logits)
        product.biases.normal_(generator=generator)
    penalty = SizePenalty(shares)

    def loss() -> torch.Tensor:
        penalty.price.fill_(0.3)
        return (product(x) - target).square().sum() + penalty()

    loss().backward()
    assert shares.logits.grad is not None
    for row in range(len(shares.weights)):
        for column in range(len(WIDTHS)):
            values = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    shares.logits.copy_(logits)[row, column] += step
                    values.append(float(loss()))
            slope = (values[0] - values[1]) / 2e-5
            assert float(shares.logits.grad[row, column]) == pytest.approx(slope, rel=1e-5, abs=1e-7), name


def test_weights_move_through_all_roundings(mixed: MixedNetwork) -> None:
    name, product = next(iter(products(mixed).items()))
    shares = mixed.shares.of(name).detach()
    before = product.weight(shares)
    before.sum().backward()
    assert product.steps.grad is not None
    # The straight-through estimator: a step of the middle grid, whatever the shares, but for values off their grids.
    slope = product.grid.scale.expand_as(product.steps)
    if product.is_folded:
        slope = slope / product.folded
    ratio = product.steps.grad / slope
    assert 0.9 < float(ratio.median()) < 1.001
    with torch.no_grad():
        product.steps.add_(3)
    moved = product.weight(shares).detach() - before.detach()
    assert (moved > 0).float().mean() > 0.8


class Importance:
    """A ``Source`` whose loss is the error of the weights of each layer, times how much the layer matters."""

    def __init__(self, mixed: MixedNetwork, importance: Mapping[str, float], passes: int = 2) -> None:
        self.mixed, self.importance, self.passes = mixed, importance, passes
        components = nnet_of(mixed.network.start.host).components
        self.exact = {name: torch.from_numpy(weight_of(components[name])) for name in mixed.network.products}

    def __len__(self) -> int:
        return self.passes

    def describe(self, number: int) -> tuple[str, int]:
        return "weights", 0

    def losses(self, number: int, model: AcousticModel) -> Iterator[Loss]:
        for _ in range(25):
            value = torch.zeros(())
            for name, product in products(self.mixed).items():
                error = product.weight(self.mixed.shares.of(name)) - self.exact[name]
                share = error.square().sum() / self.exact[name].square().sum()
                value = value + self.importance.get(name, 0.1) * share
            yield Loss(value, {"kl": float(value.detach())}, 1.0, 1, 1, True)

    def validate(self, model: AcousticModel) -> dict[str, float]:
        return {}

    has_held_out = False

    def objective(self, parts: dict[str, float]) -> float:
        raise NotImplementedError

    def score(self, model: AcousticModel) -> float | None:
        return None


def test_a_layer_that_matters_more_gets_more_bits_and_the_budget_holds(
    untrained: MixedNetwork, small: tuple[Model, Utterances], tmp_path: Path
) -> None:
    model, utterances = small
    pair = ("tdnnf2.linear", "tdnnf4.affine")
    assert len({untrained.shares.weights[name] for name in pair}) == 1
    for important, other in (pair, pair[::-1]):
        mixed = copy.deepcopy(untrained)
        found = learn(mixed, model, Importance(mixed, {important: 10.0}), tmp_path / important)
        assert found is not None
        chosen = {layer["name"]: layer["bits"] for layer in found.record["layers"]}
        assert chosen[important] > chosen[other]
        assert 2.5 < found.record["bits_per_weight"] <= 3.0
        assert found.record["expected_bits"][-1] == pytest.approx(3.0, abs=0.1)
        assert len(found.record["expected_bits"]) == 3
        quantized = quantize(model.nnet, found.config, UtteranceSet(utterances[:1], OPTIONS))
        assert {name: layer.weight.spec.bits for name, layer in quantized.layers.items()} == chosen
        assert bits_per_weight(quantized) == pytest.approx(found.record["bits_per_weight"])


def test_the_allocation_costs_least_within_the_budget() -> None:
    shares = WidthShares((2, 4), {"a": 100, "b": 100, "c": 300}, 3.0)
    with torch.no_grad():
        # All would like 4 bits; c more than a and b, and with more weights: 2 * 200 + 4 * 300 bits are too many.
        shares.logits.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.5], [0.0, 2.0]]))
    assert allocated(shares) == {"a": 4, "b": 4, "c": 2}
    shares.mean = 3.2
    assert allocated(shares) == {"a": 2, "b": 2, "c": 4}
    # What the budget leaves over is used, whatever was learned.
    shares.mean = 4.0
    with torch.no_grad():
        shares.logits.copy_(-shares.logits)
    assert set(allocated(shares).values()) == {4}


def test_what_was_killed_goes_on_to_the_same_bits(
    untrained: MixedNetwork, small: tuple[Model, Utterances], tmp_path: Path
) -> None:
    model, utterances = small
    found = []
    for folder, stops in (("whole", [None]), ("killed", [1, 2, None, None])):
        for stop in stops:
            mixed = copy.deepcopy(untrained)
            learned = learn(mixed, model, teaching(model, utterances[:1], 3), tmp_path / folder, stop)
            assert (learned is None) == (stop is not None)
            if learned is not None:
                found.append((learned, mixed))
    (whole, mixed), *others = found
    assert len(others) == 2
    for learned, other in others:
        assert learned.record == whole.record
        assert torch.equal(other.shares.logits, mixed.shares.logits)
        assert torch.equal(other.shares.temperature, mixed.shares.temperature)
        for name, product in mixed.network.products.items():
            assert torch.equal(other.network.products[name].steps, product.steps)
    assert not torch.equal(mixed.shares.logits, untrained.shares.logits)
    assert not torch.equal(
        mixed.network.products["tdnn1.affine"].steps, untrained.network.products["tdnn1.affine"].steps
    )


def test_processes_without_a_share_of_a_minibatch_have_the_same_price(mixed: MixedNetwork) -> None:
    class Shares(Importance):
        def losses(self, number: int, model: AcousticModel) -> Iterator[Loss]:
            yield from (Loss.none(), Loss.none())

    prices = []
    for source in (Importance(mixed, {}), Shares(mixed, {})):
        shares = copy.deepcopy(mixed.shares)
        with torch.no_grad():
            shares.logits[:, 0] -= 5
        penalty = SizePenalty(shares)
        losses = PenalizedSource(source, penalty).losses(0, mixed.network.model)
        seen = [next(losses) for _ in range(2)]
        prices.append((float(penalty.price), [loss.weight for loss in seen]))
    assert prices[0][0] == prices[1][0] > 0
    assert [weights for _, weights in prices] == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("mean", "sentence"),
    [
        (1.99, r"no allocation of 2, 3, 4 or 8 bits meets the budget of 1.99 bits: the closest has 2 bits per weight"),
        (8.01, r"the budget of 8.01 bits leaves nothing to learn: 8 bits in all layers are 8 bits per weight"),
    ],
)
def test_budgets_that_no_choice_is_near_to(mean: float, sentence: str, small: tuple[Model, Utterances]) -> None:
    model, utterances = small
    with pytest.raises(UsageError, match=sentence):
        MixedNetwork.of(Nnet3Source(model.nnet), FAST, UtteranceSet(utterances[:1], OPTIONS), WIDTHS, mean)


def test_layers_in_float_count_with_32_bits(small: tuple[Model, Utterances]) -> None:
    model, utterances = small
    config = PtqConfig(FAST.default, {"output.affine": {"float_reason": "it is the last"}}, observer="minmax")
    data = UtteranceSet(utterances[:1], OPTIONS)
    with pytest.raises(UsageError, match=r"meets the budget of 3 bits: the closest has 3\.5"):
        MixedNetwork.of(Nnet3Source(model.nnet), config, data, WIDTHS, 3.0)
    mixed = MixedNetwork.of(Nnet3Source(model.nnet), config, data, (2, 4), 5.0)
    assert "output.affine" not in mixed.shares.weights
    assert mixed.with_float(mixed.shares.mean) == pytest.approx(5.0)
    assert any(part.name == "output.affine" and "weight" in part.parameters for part in mixed.components())


def test_what_cannot_be_learned(small: tuple[Model, Utterances], mixed: MixedNetwork, tmp_path: Path) -> None:
    model, utterances = small
    data = UtteranceSet(utterances[:1], OPTIONS)
    for text in ("300 kB", "0.1 nats"):
        with pytest.raises(UsageError, match=f"--learn-widths '{text}': the budget must be mean bits per weight"):
            WidthOptions(parse_budget(text))
    with pytest.raises(UsageError, match="with only 4 bits there is nothing to choose"):
        WidthOptions(parse_budget("4 bits"), (4,))
    with pytest.raises(UsageError, match=r"the presets torch-\* have 8 bits only"):
        MixedNetwork.of(Nnet3Source(model.nnet), PtqConfig(backend="torch", observer="minmax"), data, WIDTHS, 3.0)
    with pytest.raises(UsageError, match="--optimizer sgd: widths can only be learned with adam"):
        learn(mixed, model, teaching(model, utterances[:1], 1), tmp_path, loop=LoopOptions(OptimizerOptions("sgd")))
    with pytest.raises(UsageError, match="--lr-schedule plateau cannot be combined with --learn-widths"):
        learn(mixed, model, teaching(model, utterances[:1], 1), tmp_path, loop=replace(LOOP, schedule=Plateau()))


def test_shares_do_not_decay(
    mixed: MixedNetwork, small: tuple[Model, Utterances], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[TrainedComponent] = []

    def loop(model: AcousticModel, components: list[TrainedComponent], *rest: object, **more: object) -> None:
        found.extend(components)
        raise KeyboardInterrupt

    monkeypatch.setattr("kaldi_quant.train.qat.learned_widths.Loop", loop)
    with pytest.raises(KeyboardInterrupt):
        learn(mixed, small[0], teaching(*small, 1), tmp_path)
    assert [part.name for part in found if not part.decays] == ["widths"]


def test_learning_widths_goes_to_the_end(mixed: MixedNetwork, small: tuple[Model, Utterances], tmp_path: Path) -> None:
    model, utterances = small
    found = learn(mixed, model, teaching(model, utterances[:1], 2), tmp_path, loop=replace(LOOP, early_stopping=1))
    assert found is not None and len(found.record["expected_bits"]) == 3


def test_the_verb_learns_widths_and_goes_on_with_them(
    small: tuple[Model, Utterances], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, utterances = small
    with matrix_writer(f"ark:{tmp_path}/feats.ark") as writer:
        for name, matrix in utterances:
            writer.write(name, matrix)
    (tmp_path / "plain.yaml").write_text("default: {method: minmax}\nobserver: minmax\n")
    out = tmp_path / "out"
    command = ["qat", "--num-epochs=2", "--minibatch-size=2", "--frame-subsampling-factor=3"]
    quantizing = [f"--config={tmp_path}/plain.yaml"]
    learning = ["--learn-widths=3.5 bits", "--widths=2,4,8"]
    places = [str(model.nnet.path), f"ark:{tmp_path}/feats.ark", str(out)]
    assert run([*command, *quantizing, *learning, *places]) == 0
    record = json.loads((out / "learned_widths.json").read_text())
    chosen = {layer["name"]: layer["bits"] for layer in record["layers"]}
    assert record["budget"]["amount"] == 3.5
    assert record["bits_per_weight"] <= 3.5
    assert all(sum(layer["shares"].values()) == pytest.approx(1) for layer in record["layers"])
    config = read_config(out / "allocation.yaml")
    assert {name: fields["bits"] for name, fields in config.layers.items()} == chosen
    artefact = load_artefact(out / "quantized.safetensors")
    assert {name: layer.weight.spec.bits for name, layer in artefact.network.layers.items()} == chosen
    assert artefact.record["config"] == config.as_dict()
    # Killed between the phase and the end of training: the same comes of it.
    first = (out / "quantized.safetensors").read_bytes()
    for name in ("quantized.safetensors", "learned_widths.json", "checkpoint.pt"):
        (out / name).unlink()
    assert run([*command, *quantizing, *learning, *places]) == 0
    assert (out / "quantized.safetensors").read_bytes() == first
    assert json.loads((out / "learned_widths.json").read_text()) == record
    capsys.readouterr()
    for options, message in (
        ([*learning, "--bits=4"], "--bits 4 cannot be combined with --learn-widths"),
        ([*learning, "--preset=torch-static"], "the presets torch-* have 8 bits only"),
        (["--learn-widths=3"], "the budget '3' is not understood"),
        (["--learn-widths=300 kB"], "--learn-widths '300 kB': the budget must be mean bits"),
        ([*learning, "--width-epochs=0"], "--width-epochs 0: expected 1 or more"),
        ([*learning, "--num-epochs=-1"], "--num-epochs -1: expected 0 or more"),
        (["--widths=2,3"], "--widths 2,3 has an effect only with --learn-widths"),
    ):
        assert run([*command, *options, *places[:2], str(tmp_path / "other")]) != 0
        assert message in capsys.readouterr().err.strip().splitlines()[-1], options


def test_the_recipe_hands_the_options_on(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    for module in ("quantized_training", "quantization"):
        monkeypatch.setattr(
            f"kaldi_quant.cli.recipes.{module}.call_verb",
            lambda verb, arguments, log: calls.append([verb, *map(str, arguments)]),
        )
    monkeypatch.chdir(tmp_path)
    options = ["--stage=5", "--stop-stage=6", f"--dir={tmp_path}/out", "--learn-widths=3 bits", "--width-epochs=2"]
    run_tdnn_qat.main([*options, str(example)], standalone_mode=False)
    verb, *arguments = calls[0]
    assert verb == "qat"
    assert {"--learn-widths=3 bits", "--width-epochs=2"} <= set(arguments)
    assert not any(word.startswith(("--widths", "--bits")) for word in arguments)
