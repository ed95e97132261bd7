"""Quantization-aware training by PyTorch's own fake quantization, behind the interface of this project's."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.cli.main import run
from kaldi_quant.cli.models import read_network
from kaldi_quant.errors import MissingDependencyError, UsageError
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.torch_engines.network import TorchNetwork
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.torch_network import TorchTrainableNetwork
from kaldi_quant.train.qat.training import train_quantized
from kaldi_quant.train.schedules import Exponential
from tests.train.fake_quantized import OPTIONS, SUBSAMPLING, assert_same, divergence, rows

torch.set_num_threads(1)
CONFIG = PtqConfig(LayerConfig(method="minmax"), observer="minmax", bias_correction=False, backend="torch")

Utterances = list[tuple[str, np.ndarray]]


def with_bits(bits: int) -> PtqConfig:
    return replace(CONFIG, default=replace(CONFIG.default, bits=bits))


@pytest.fixture(scope="module")
def utterances(example: Path) -> Utterances:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [(name, feats[:120]) for (name, feats), _ in zip(table, range(4), strict=False)]


@pytest.fixture(scope="module")
def data(utterances: Utterances) -> UtteranceSet:
    return UtteranceSet(utterances[:3], OPTIONS)


def train(
    model: Model,
    network: TorchTrainableNetwork,
    utterances: Utterances,
    folder: Path,
    stop_after: int | None = None,
    freeze_after: float = 0.5,
) -> QuantizedNetwork | None:
    distillation = Distillation(AcousticModel(model.nnet))
    source = FeatureSource(utterances[:3], distillation, FeatureOptions(3, 2), SUBSAMPLING, utterances[3:])
    loop = LoopOptions(OptimizerOptions("adam"), average_last=2, schedule=Exponential(1e-4, 5e-5))
    options = QatOptions("moving-average", freeze_after)
    return train_quantized(network, model, source, options, loop, folder, {}, stop_after)


def assert_equal(one: QuantizedNetwork, other: QuantizedNetwork) -> None:
    for name, layer in one.layers.items():
        assert torch.equal(layer.weight.integers, other.layers[name].weight.integers), name
        assert torch.equal(layer.weight.scale, other.layers[name].weight.scale), name
        assert torch.equal(layer.bias, other.layers[name].bias), name
    for name, grid in one.activations.items():
        assert torch.equal(grid.scale, other.activations[name].scale), name
        assert torch.equal(grid.zero_point, other.activations[name].zero_point), name


@pytest.mark.parametrize(("name", "bits"), [("tdnn1a_sp", 3), ("tdnnf1b_sp", 8)])
def test_training_begins_at_the_integers_of_quantization_after_training(
    name: str, bits: int, example: Path, data: UtteranceSet, utterances: Utterances
) -> None:
    nnet = read_model(example / f"exp/chain/{name}/final.mdl").nnet
    network, quantized = (
        TorchTrainableNetwork.of(Nnet3Source(nnet), with_bits(bits), data),
        quantize(nnet, with_bits(bits), data),
    )
    assert_equal(network.start, quantized)
    begun = network.converted()
    for layer, integers in begun.layers.items():
        assert torch.equal(integers.weight.integers, quantized.layers[layer].weight.integers), layer
        torch.testing.assert_close(integers.weight.scale, quantized.layers[layer].weight.scale, rtol=1e-6, atol=0)
        assert int((integers.bias - quantized.layers[layer].bias).abs().max()) <= 1, layer
    for node, grid in begun.activations.items():
        torch.testing.assert_close(grid.scale, quantized.activations[node].scale, rtol=1e-6, atol=0)
        assert torch.equal(grid.zero_point, quantized.activations[node].zero_point), node
    assert_same(rows(network.model, utterances[3:]), rows(quantized.model(), utterances[3:]))


def test_a_killed_training_goes_on_to_the_same_bits_and_its_network_is_the_one_that_runs(
    model: Model, data: UtteranceSet, utterances: Utterances, tmp_path: Path
) -> None:
    networks = [TorchTrainableNetwork.of(Nnet3Source(model.nnet), with_bits(4), data) for _ in range(3)]
    begun = networks[0].converted()
    whole = train(model, networks[0], utterances, tmp_path / "whole")
    assert train(model, networks[1], utterances, tmp_path / "killed", stop_after=1) is None
    resumed = train(model, networks[2], utterances, tmp_path / "killed")
    assert whole is not None and resumed is not None
    assert_equal(whole, resumed)
    for name, layer in whole.layers.items():
        assert not torch.equal(layer.weight.integers, begun.layers[name].weight.integers), name
        assert not torch.equal(layer.weight.scale, begun.layers[name].weight.scale), name
    moved = [n for n, grid in whole.activations.items() if not torch.equal(grid.scale, begun.activations[n].scale)]
    # The network input's grids are multiplied into the first weights, and stay.
    assert set(moved) == set(begun.activations) - {"input"}
    assert_same(rows(networks[0].model, utterances[3:]), rows(whole.model(), utterances[3:]))
    before = divergence(model, begun.model(), utterances[3:])
    assert divergence(model, whole.model(), utterances[3:]) < 0.9 * before


def test_frozen_ranges_stay_and_validation_changes_none(
    model: Model, data: UtteranceSet, utterances: Utterances, tmp_path: Path
) -> None:
    network = TorchTrainableNetwork.of(Nnet3Source(model.nnet), with_bits(8), data)
    before = {name: tensor.clone() for name, tensor in network.observers.tensors().items()}
    begun = network.converted()
    rows(network.model, utterances[3:])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.observers.tensors().items())
    trained = train(model, network, utterances, tmp_path, freeze_after=0.0)
    assert trained is not None
    for name, layer in trained.layers.items():
        # A row of zeros has any scale.
        rows_used = (begun.layers[name].weight.centred != 0).any(1)
        assert torch.equal(layer.weight.scale[rows_used], begun.layers[name].weight.scale[rows_used]), name
    for name, grid in trained.activations.items():
        assert torch.equal(grid.scale, begun.activations[name].scale), name
    lost = divergence(model, network.start.model(), utterances[3:])
    assert divergence(model, trained.model(), utterances[3:]) < 1.2 * lost


def test_what_cannot_be_trained_is_refused(model: Model, data: UtteranceSet) -> None:
    dynamic = replace(CONFIG, layers={"tdnn3.affine": {"ranges": "dynamic"}})
    with pytest.raises(UsageError, match=r"tdnn3\.affine has dynamic ranges: PyTorch trains static ranges only"):
        TorchTrainableNetwork.of(Nnet3Source(model.nnet), dynamic, data)


def test_pt2e_asks_for_torchao_when_it_is_missing(
    model: Model, data: UtteranceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchao" or name.endswith("x86_quantizer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("kaldi_quant.backends.torch_engines.x86_quantizer", raising=False)
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package torchao: pip install"):
        TorchTrainableNetwork.of(Nnet3Source(model.nnet), replace(CONFIG, route="pt2e"), data)


@pytest.mark.usefixtures("torchao")
def test_pt2e_begins_at_its_own_integers_and_learns(
    model: Model, data: UtteranceSet, utterances: Utterances, tmp_path: Path
) -> None:
    network = TorchTrainableNetwork.of(Nnet3Source(model.nnet), replace(with_bits(4), route="pt2e"), data)
    begun = network.converted()
    for layer, integers in network.start.layers.items():
        assert torch.equal(integers.weight.integers, begun.layers[layer].weight.integers), layer
    assert_same(rows(network.model, utterances[3:]), rows(network.start.model(), utterances[3:]))
    trained = train(model, network, utterances, tmp_path)
    assert trained is not None
    assert_same(rows(network.model, utterances[3:]), rows(trained.model(), utterances[3:]))
    before = divergence(model, begun.model(), utterances[3:])
    assert divergence(model, trained.model(), utterances[3:]) < 0.9 * before


def test_the_verb_makes_an_integer_model_for_the_engine(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (example / "data/train_sub_hires/feats.scp").read_text().splitlines(keepends=True)
    (tmp_path / "feats.scp").write_text("".join(lines[:3]).replace("data/", f"{example}/data/"))
    places = [
        str(example / "exp/chain/tdnn1a_sp/final.mdl"),
        f"scp:{tmp_path}/feats.scp",
        str(tmp_path / "out"),
    ]
    command = ["qat", "--preset=torch-static", "--bits=4", "--num-epochs=2", "--minibatch-size=8"]
    assert run([*command, *places]) == 0
    said = capsys.readouterr().err
    assert "they follow moving averages of the activation ranges" in said
    assert "deprecat" not in said.lower()
    artefact = tmp_path / "out/quantized.safetensors"
    record = json.loads((tmp_path / "out/quantization.json").read_text())
    assert record["training"]["qat"] == {"method": "moving-average", "freeze_after": 0.8}
    assert record["config"]["backend"] == "torch"
    assert isinstance(read_network(str(artefact)).model, TorchNetwork)
    assert run(["forward", str(artefact), places[1], f"ark:{tmp_path}/loglikes.ark"]) == 0
    assert run(["export", "--formats=mdl", str(artefact), str(tmp_path / "out")]) == 0
    capsys.readouterr()
    for options, message in (
        (["--preset=torch-dynamic"], "has dynamic ranges: PyTorch trains static ranges only"),
        (["--weights=values"], "--weights values is not for the presets torch-*"),
        (["--method=recomputed", "--weights=values"], "--method recomputed is not for the presets torch-*"),
        (["--method=fixed"], "--freeze-after 0 keeps their scales as calibrated"),
        (["--preset=w8a8", "--method=moving-average"], "--method moving-average is only for --preset torch-static"),
    ):
        assert run([*command, *options, *places]) != 0
        assert message in capsys.readouterr().err.strip().splitlines()[-1], options
