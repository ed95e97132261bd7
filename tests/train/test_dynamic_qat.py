"""Training of layers whose ranges are dynamic: fake quantization computes what runs in integers, and learns."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.cli.main import run
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.artefact import load as load_artefact
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.hidden_features import HiddenFeatures
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.fake_product import DynamicProduct
from kaldi_quant.train.qat.mixed_widths import MixedNetwork
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.trained_weight import TrainedSteps
from kaldi_quant.train.qat.training import start_digest, train_quantized
from kaldi_quant.train.schedules import Constant
from tests.references import NNET3, load, model_file, read_archive
from tests.train.fake_quantized import OPTIONS, SUBSAMPLING, assert_same, divergence, rows

torch.set_num_threads(1)

Utterances = list[tuple[str, np.ndarray]]
ALL = PtqConfig(LayerConfig(bits=3, method="minmax", ranges="dynamic", symmetric=False), observer="minmax")
SOME = replace(ALL, default=replace(ALL.default, ranges="static"), layers={"*affine": {"ranges": "dynamic"}})


def small(name: str = "tdnnf_small") -> tuple[Model, Utterances]:
    model = load(model_file(NNET3 / name))
    return model, list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())


def quantized(config: PtqConfig, name: str = "tdnnf_small") -> QuantizedNetwork:
    model, utterances = small(name)
    return quantize(model.nnet, config, UtteranceSet(utterances, OPTIONS))


def layer_and_product(
    bits: int, act_bits: int, groups: int, symmetric: bool, columns: int = 24
) -> tuple[DynamicLinear, DynamicProduct]:
    weight, spec = torch.randn(12, columns), QSpec(bits, symmetric=symmetric, per_channel=True)
    grid = minmax_grid(weight, spec)
    integers = QuantizedWeight.on_grid(grid, grid.quantize(weight), groups)
    inputs = QSpec(act_bits, signed=False, symmetric=False)
    steps = TrainedSteps((weight.double() / grid.scale).float())
    fake = FakeGrid(Grid(spec, integers.scale, integers.zero_point), columns, zero_learned=False)
    layer = DynamicLinear.build(integers, torch.randn(12), inputs)
    return layer, DynamicProduct(steps, fake, columns, inputs, groups)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("bits", "act_bits"), [(8, 8), (4, 8), (2, 4), (6, 12)])
def test_the_product_is_that_of_integers_to_the_bit(bits: int, act_bits: int, groups: int, symmetric: bool) -> None:
    torch.manual_seed(bits + groups)
    layer, product = layer_and_product(bits, act_bits, groups, symmetric)
    # Sequences of very different ranges, one of zeros, one without negative values; rows that do not count.
    x = torch.randn(5, 7, groups * 24) * torch.tensor([1e-3, 1.0, 300.0, 0.0, 1.0]).view(5, 1, 1)
    x[4].abs_()
    x[1, 3] = torch.nan
    x[2, 0, 5] = torch.inf
    with torch.no_grad():
        assert torch.equal(product(x, layer.bias), layer.forward(x))
        assert torch.equal(product(x[:, 2], layer.bias), layer.forward(x[:, 2]))
        # What else is in the batch makes no difference.
        assert torch.equal(product(x[1:2], layer.bias), product(x, layer.bias)[1:2])
    assert len(layer.forward(x[1]).unique()) > 6


def test_gradients_by_hand() -> None:
    torch.manual_seed(3)
    layer, product = layer_and_product(3, 4, 1, symmetric=True)
    x = torch.randn(2, 5, 24)
    x[0, 1] = torch.nan
    x.requires_grad_()
    bias = torch.zeros(12, requires_grad=True)
    weights = torch.randn(2, 5, 12)
    (product(x, bias) * weights).sum().backward()
    finite = x.detach().nan_to_num(0.0)
    grid = Grid.from_range(layer.spec, finite.amin((1, 2)).view(2, 1, 1), finite.amax((1, 2)).view(2, 1, 1))
    # Rounding and clamping of the input are passed, also by the values that make the range.
    expected = weights @ layer.dequantized_weight()
    expected[0, 1] = 0.0
    assert x.grad is not None and bias.grad is not None
    torch.testing.assert_close(x.grad, expected)
    torch.testing.assert_close(bias.grad, weights.sum((0, 1)))
    assert isinstance(product.trained, TrainedSteps) and product.trained.steps.grad is not None
    of_weight = torch.einsum("nto,nti->oi", weights, grid.fake(finite))
    torch.testing.assert_close(product.trained.steps.grad, of_weight * layer.weight.scale, rtol=1e-4, atol=1e-4)
    assert product.grid.ratio is not None and product.grid.ratio.grad is not None
    of_scale = (of_weight * layer.weight.centred).sum(1, keepdim=True) * layer.weight.scale
    torch.testing.assert_close(product.grid.ratio.grad, of_scale / (24 * 3) ** 0.5, rtol=1e-4, atol=1e-4)


CASES = [("tdnnf_small", ALL), ("tdnnf_small", SOME), ("fast_lstmp", ALL), ("fast_lstmp", SOME), ("conv_usual", ALL)]


@pytest.mark.parametrize(("name", "config"), CASES)
def test_training_begins_and_ends_at_the_integers(name: str, config: PtqConfig) -> None:
    _, utterances = small(name)
    start = quantized(config, name)
    kinds = {type(layer) for layer in start.layers.values()}
    assert DynamicLinear in kinds and (config is ALL or name != "tdnnf_small" or IntegerLinear in kinds)
    network = TrainableNetwork.of(start)
    for layer, integers in network.converted().layers.items():
        assert type(integers) is type(start.layers[layer])
        assert torch.equal(integers.weight.integers, start.layers[layer].weight.integers), layer
        assert torch.equal(integers.weight.scale, start.layers[layer].weight.scale), layer
    # Of different lengths: padding must not count.
    uneven = [(f"{key} {length}", matrix[:length]) for key, matrix in utterances for length in (20, 33, len(matrix))]
    assert network.model.batches_of_one_length
    assert_same(rows(network.model, uneven), rows(start.model(), uneven))
    generator = torch.Generator().manual_seed(0)
    parts = [*network.components(), *network.scales()]
    with torch.no_grad():
        for part in parts:
            for parameter in part.parameters.values():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    moved = network.converted()
    assert_same(rows(network.model, uneven), rows(moved.model(), uneven))
    assert any(
        not torch.equal(layer.weight.integers, start.layers[key].weight.integers) for key, layer in moved.layers.items()
    )


def test_frames_that_no_output_needs_do_not_count() -> None:
    network = TrainableNetwork.of(quantized(ALL))
    model, _ = small()
    feats, times = torch.randn(2, 200, model.nnet.input_dim()), np.arange(0, 30, 3)
    feats[:, :50] *= 100
    with torch.no_grad():
        found = [
            network.model(feats[:, 100 + first : 100 + end], [(first, end)] * 2, times)
            for first, end in ((-8, 36), (-100, 100))
        ]
    assert torch.equal(*found)


def train(
    start: QuantizedNetwork, folder: Path, options: QatOptions, stop_after: int | None = None
) -> QuantizedNetwork | None:
    model, utterances = small()
    network = TrainableNetwork.of(start, options)
    teacher = Distillation(AcousticModel(model.nnet))
    source = FeatureSource(utterances, teacher, FeatureOptions(8, 2, frames=30), SUBSAMPLING, utterances[:2])
    # Places on grids learn 20 times faster.
    rate = Constant({"steps": 1e-4, "values": 1e-3}[options.weights])
    loop = LoopOptions(OptimizerOptions(), average_last=2, schedule=rate)
    trained = train_quantized(network, model, source, options, loop, folder, {}, stop_after)
    if trained is not None:
        assert_same(rows(network.model, utterances), rows(trained.model(), utterances))
    return trained


@pytest.mark.parametrize(("config", "weights"), [(ALL, "values"), (SOME, "steps")], ids=["all", "some"])
def test_training_helps_and_goes_on_after_a_kill_to_the_same_bits(
    config: PtqConfig, weights: str, tmp_path: Path
) -> None:
    model, utterances = small()
    start, options = quantized(config), QatOptions(weights=weights)
    whole = train(start, tmp_path / "whole", options)
    assert train(start, tmp_path / "killed", options, stop_after=3) is None
    resumed = train(start, tmp_path / "killed", options)
    assert whole is not None and resumed is not None
    assert divergence(model, whole.model(), utterances) < 0.85 * divergence(model, start.model(), utterances)
    for name, layer in whole.layers.items():
        assert type(layer) is type(start.layers[name]) is type(resumed.layers[name])
        assert torch.equal(layer.weight.integers, resumed.layers[name].weight.integers)
        assert torch.equal(layer.weight.scale, resumed.layers[name].weight.scale)
        assert torch.equal(layer.bias, resumed.layers[name].bias)
        if isinstance(layer, DynamicLinear):
            assert not torch.equal(layer.weight.scale, start.layers[name].weight.scale), name
    for name, grid in whole.activations.items():
        assert torch.equal(grid.scale, resumed.activations[name].scale)


def test_widths_of_dynamic_inputs_tell_trainings_apart() -> None:
    start = quantized(ALL)
    name, layer = next(iter(start.layers.items()))
    assert isinstance(layer, DynamicLinear)
    other = replace(start, layers={**start.layers, name: replace(layer, spec=replace(layer.spec, bits=7))})
    assert start_digest(start) == start_digest(replace(start)) != start_digest(other)


@pytest.mark.parametrize("config", [ALL, SOME], ids=["all", "some"])
def test_widths_of_dynamic_layers_are_learned(config: PtqConfig) -> None:
    model, utterances = small()
    data = UtteranceSet(utterances, OPTIONS)
    mixed = MixedNetwork.of(Nnet3Source(model.nnet), config, data, (2, 4, 8), 4.0)
    for number, bits in enumerate((2, 4, 8)):
        with torch.no_grad():
            mixed.shares.logits.fill_(-1e4)[:, number] = 0.0
        symmetric = bits > 4
        layers = {pattern: dict(changes) for pattern, changes in config.layers.items()}
        default = replace(config.default, bits=bits, symmetric=symmetric)
        alone = quantize(model.nnet, replace(config, default=default, layers=layers), data)
        expected, found = rows(alone.model(), utterances), rows(mixed.network.model, utterances)
        assert np.median(np.abs(found - expected)) < 1e-4, bits
    with torch.no_grad():
        mixed.shares.logits.zero_()
    spans, times = [(-15, 45)] * 2, np.arange(0, 30, 3)
    parts = mixed.components()
    mixed.network.model(torch.randn(2, 60, model.nnet.input_dim()), spans, times).square().sum().backward()
    for part in parts:
        assert all(value.grad is not None and value.grad.any() for value in part.parameters.values()), part.name


def test_hidden_layers_need_static_grids() -> None:
    start = quantized(ALL)
    network = TrainableNetwork.of(start)
    with pytest.raises(UsageError, match="--feature-weight: no hidden layer lies on a static grid"):
        HiddenFeatures(network.model, start.host.executable(), network.activations)


def test_the_verb(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (example / "data/train_sub_hires/feats.scp").read_text().splitlines(keepends=True)
    (tmp_path / "feats.scp").write_text("".join(lines[:4]).replace("data/", f"{example}/data/"))
    config = tmp_path / "dynamic.yaml"
    config.write_text("default: {bits: 3, method: minmax, ranges: dynamic}\nlayers: {'@input': {ranges: static}}\n")
    chain = example / "exp/chain/tdnn1a_sp"
    command = ["qat", f"--config={config}", "--num-epochs=6", "--minibatch-size=2", "--lr-initial=3e-4"]
    command += ["--lr-final=1e-4"]
    command.append(f"--held-out=scp:{tmp_path}/feats.scp")
    places = [str(chain / "final.mdl"), f"scp:{tmp_path}/feats.scp"]
    assert run([*command, "--weights=values", *places, str(tmp_path)]) == 0
    record = json.loads((tmp_path / "progress.json").read_text())
    assert record["result"]["valid"]["kl"] < 0.6 * record["iterations"][0]["valid"]["kl"]
    artefact = load_artefact(tmp_path / "quantized.safetensors")
    kinds = [type(layer) for layer in artefact.network.layers.values()]
    assert kinds == [IntegerLinear, *[DynamicLinear] * (len(kinds) - 1)]
    assert artefact.record["training"]["qat"] == {"method": "lsq", "freeze_after": 0.8, "weights": "values"}
    assert artefact.record["training"]["teaching"]["weights"] == "values"
    config.write_text("default: {ranges: dynamic}\n")
    capsys.readouterr()
    assert run([*command, "--feature-weight=1", *places, str(tmp_path / "other")]) == 1
    assert "--feature-weight 1: hidden layers are compared on static grids" in capsys.readouterr().err


def test_gradients_of_an_input_reach_what_is_before_it() -> None:
    network = TrainableNetwork.of(quantized(ALL))
    model, _ = small()
    parts = [*network.components(), *network.scales()]
    x: Tensor = torch.randn(2, 60, model.nnet.input_dim())
    network.model(x, [(-15, 45)] * 2, np.arange(0, 30, 3)).square().sum().backward()
    for part in parts:
        assert all(value.grad is not None and value.grad.any() for value in part.parameters.values()), part.name
