"""What is learned of weights, values in float or places on grids: gradients by hand, and whole trainings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.cli.recipes.quantized_training import run_tdnn_qat
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.fake_product import FakeProduct
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.trained_weight import TrainedValues
from kaldi_quant.train.qat.training import train_quantized
from kaldi_quant.train.schedules import Constant
from tests.references import NNET3, load, model_file, read_archive
from tests.train.fake_quantized import OPTIONS, SUBSAMPLING, assert_same, divergence, rows

torch.set_num_threads(1)

# GPTQ's integers are not all the nearest ones; the input's columns have scales of their own.
CONFIG = PtqConfig(LayerConfig(bits=3, method="gptq", symmetric=False), {"@input": {"bits": 6}}, observer="minmax")


@pytest.fixture(scope="module")
def small() -> tuple[Model, list[tuple[str, np.ndarray]]]:
    model = load(model_file(NNET3 / "tdnnf_small"))
    return model, list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())


@pytest.fixture(scope="module")
def start(small: tuple[Model, list[tuple[str, np.ndarray]]]) -> QuantizedNetwork:
    return quantize(small[0].nnet, CONFIG, UtteranceSet(small[1], OPTIONS))


def of_values(
    weight: torch.Tensor, scale: torch.Tensor, folded: torch.Tensor, learned: bool
) -> tuple[FakeProduct, TrainedValues]:
    trained = TrainedValues(weight)
    grid = Grid(QSpec(3, per_channel=True), scale, torch.zeros_like(scale, dtype=torch.int32))
    return FakeProduct(trained, FakeGrid(grid, weight.shape[1], learned), folded, None), trained


@pytest.mark.parametrize("folded", [torch.ones(4), torch.tensor([0.5, 1.0, 2.0, 4.0])], ids=["plain", "folded"])
@pytest.mark.parametrize("learned", [True, False], ids=["lsq", "fixed"])
def test_the_gradient_of_values_is_that_of_lsq(learned: bool, folded: torch.Tensor) -> None:
    # In steps, v = w / s: inside, at the ends, and beyond them (the grid has -3 to 3).
    v = torch.tensor([[-4.2, -0.6, 0.1, 3.4], [2.7, 9.0, 1.4, -3.3]])
    scale = torch.tensor([[0.25], [0.5]])
    product, trained = of_values(v * scale / folded, scale, folded, learned)
    x, g = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[1.0, -2.0]])
    (product(x) * g).sum().backward()
    of_weight = g.T @ x / folded
    inside = (v.round() >= -3) & (v.round() <= 3)
    assert inside.tolist() == [[False, True, True, True], [True, False, True, True]]
    # What the product has is the weight: its gradient passes where the weight is on the grid, and not elsewhere.
    assert trained.weight.grad is not None
    torch.testing.assert_close(trained.weight.grad, of_weight * folded * inside)
    if not learned:
        assert product.grid.ratio is None
        return
    # LSQ, equation 3; the parameter is the scale's logarithm, its gradient damped by 1 / sqrt(N Qp).
    slope = torch.where(inside, v.round() - v, v.clamp(-3, 3))
    assert product.grid.ratio is not None and product.grid.ratio.grad is not None
    expected = (of_weight * slope).sum(1, keepdim=True) * scale / (4 * 3) ** 0.5
    torch.testing.assert_close(product.grid.ratio.grad, expected)


def test_values_cross_a_grid_whose_scale_changes() -> None:
    product, _ = of_values(torch.tensor([[0.3, 1.1]]), torch.tensor([[0.5]]), torch.ones(2), learned=True)
    assert product.grid.ratio is not None
    none = torch.zeros(1, 1)
    assert product.quantized(none).integers.tolist() == [[1, 2]]
    with torch.no_grad():
        product.grid.ratio += np.log(0.5)
    found = product.quantized(none)
    assert found.integers.tolist() == [[1, 3]]
    torch.testing.assert_close(found.dequantized(), torch.tensor([[0.25, 0.75]], dtype=torch.float64))
    torch.testing.assert_close(product(torch.eye(2)).T, found.dequantized().float())


def test_values_begin_at_the_integers_and_are_weights_in_float(
    start: QuantizedNetwork, small: tuple[Model, list[tuple[str, np.ndarray]]]
) -> None:
    network = TrainableNetwork.of(start, QatOptions(weights="values"))
    assert any(product.is_folded for product in network.products.values())
    for name, layer in network.converted().layers.items():
        assert torch.equal(layer.weight.integers, start.layers[name].weight.integers), name
        weight = dict(network.products[name].named_parameters())
        values, original = weight["trained.weight"].detach(), start.host.weight(name)
        assert values.shape == original.shape
        near = start.layers[name].dequantized_weight()
        # Either the float weight itself, or as near to its integer as need be.
        assert ((values - near).abs() <= (original - near).abs() + 1e-5).all()
        assert torch.isclose(values, original, rtol=1e-4, atol=1e-6).float().mean() > 0.5
    rates = {part.name: part.learning_rate_factor for part in network.components()}
    assert set(rates.values()) == {1.0}
    assert {part.learning_rate_factor for part in TrainableNetwork.of(start).components()} == {1.0, 20.0}
    assert_same(rows(network.model, small[1]), rows(start.model(), small[1]))


def train(
    small: tuple[Model, list[tuple[str, np.ndarray]]],
    start: QuantizedNetwork,
    folder: Path,
    options: QatOptions,
    stop_after: int | None = None,
) -> QuantizedNetwork | None:
    model, utterances = small
    network = TrainableNetwork.of(start, options)
    cut = FeatureOptions(8, 2, frames=30)
    source = FeatureSource(utterances, Distillation(AcousticModel(model.nnet)), cut, SUBSAMPLING)
    loop = LoopOptions(OptimizerOptions(), average_last=1, schedule=Constant(1e-3))
    trained = train_quantized(network, model, source, options, loop, folder, {}, stop_after)
    if trained is not None:
        assert_same(rows(network.model, utterances), rows(trained.model(), utterances))
    return trained


@pytest.mark.parametrize("method", ["lsq", "fixed"])
def test_training_of_values(
    method: str, start: QuantizedNetwork, small: tuple[Model, list[tuple[str, np.ndarray]]], tmp_path: Path
) -> None:
    model, utterances = small
    options = QatOptions(method, weights="values")
    whole = train(small, start, tmp_path / "whole", options)
    assert whole is not None
    assert divergence(model, whole.model(), utterances) < 0.8 * divergence(model, start.model(), utterances)
    for name, layer in whole.layers.items():
        before = start.layers[name]
        assert not torch.equal(layer.weight.integers, before.weight.integers)
        assert torch.equal(layer.weight.scale, before.weight.scale) == (method == "fixed"), name
    with pytest.raises(UsageError, match="belongs to a training with other options"):
        train(small, start, tmp_path / "whole", QatOptions(method))


@pytest.mark.parametrize(("weights", "limit"), [("steps", 0.0), ("values", 2.0)])
def test_kaldi_s_limit_is_for_weights_in_float(
    weights: str,
    limit: float,
    start: QuantizedNetwork,
    small: tuple[Model, list[tuple[str, np.ndarray]]],
    tmp_path: Path,
) -> None:
    assert train(small, start, tmp_path, QatOptions(weights=weights), stop_after=1) is None
    assert json.loads((tmp_path / "progress.json").read_text())["options"]["optimizer"]["max_param_change"] == limit


def test_the_default_is_not_recorded_so_that_checkpoints_without_it_go_on() -> None:
    assert QatOptions().as_dict() == {"method": "lsq", "freeze_after": 0.8}
    assert QatOptions(weights="values").as_dict() == {"method": "lsq", "freeze_after": 0.8, "weights": "values"}
    with pytest.raises(UsageError, match="--weights 'floats' is not one of steps, values"):
        QatOptions(weights="floats")
    with pytest.raises(UsageError, match=r"--weights values is not for the presets torch-\*"):
        QatOptions("moving-average", weights="values")


def test_the_recipe_hands_the_option_on(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    for module in ("quantized_training", "quantization"):
        monkeypatch.setattr(
            f"kaldi_quant.cli.recipes.{module}.call_verb",
            lambda verb, arguments, log: calls.append([verb, *map(str, arguments)]),
        )
    monkeypatch.chdir(tmp_path)
    options = ["--stage=5", "--stop-stage=6", f"--dir={tmp_path}/out", "--weights=values"]
    run_tdnn_qat.main([*options, str(example)], standalone_mode=False)
    assert calls[0][0] == "qat" and "--weights=values" in calls[0]
