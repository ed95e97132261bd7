"""The preset that others are compared with: plain 8 bits, which lose little as long as nothing is folded before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.formats.artefact import load, save
from kaldi_quant.formats.dequantized import dequantized_model
from kaldi_quant.formats.onnx_qdq import write_onnx
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.execution import executable
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.linear_components import is_linear, weight_of
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.presets import read_preset, resolve

OPTIONS = InferenceOptions(ChunkOptions(3))
Utterances = list[tuple[str, np.ndarray]]


@pytest.fixture(scope="module")
def utterances(example: Path) -> Utterances:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return [utterance for utterance, _ in zip(table, range(7), strict=False)]


@pytest.fixture(scope="module", params=["tdnn1a_sp", "tdnnf1b_sp"])
def float_model(request: pytest.FixtureRequest, example: Path) -> Model:
    return read_model(example / "exp/chain" / request.param / "final.mdl")


@pytest.fixture(scope="module")
def network(float_model: Model, utterances: Utterances) -> QuantizedNetwork:
    return quantize(float_model.nnet, read_preset("baseline"), UtteranceSet(utterances[:5], OPTIONS))


def rows_of(model: AcousticModel, utterances: Utterances) -> np.ndarray:
    return np.concatenate([rows for _, rows in Inference(model, None, OPTIONS).compute(utterances)])


def test_plain_eight_bits_lose_little(network: QuantizedNetwork, utterances: Utterances) -> None:
    assert divergence(network, UtteranceSet(utterances[5:], OPTIONS)).distance < 0.015
    assert network.float_layers == {"lda": "it is a fixed transform of the features, which brings them to equal ranges"}


def test_weights_are_those_of_the_file_on_one_min_max_grid(float_model: Model, network: QuantizedNetwork) -> None:
    own = {name for name, component in float_model.nnet.components.items() if is_linear(component)}
    assert set(network.layers) == own - {"lda"} - {name for name in own if "xent" in name}
    for name, layer in network.layers.items():
        weight = weight_of(float_model.nnet.components[name]).astype(np.float64)
        if layer.inputs.per_column:
            continue
        low, high = min(weight.min(), 0.0), max(weight.max(), 0.0)
        scale = (high - low) / 255
        zero_point = np.round(-low / scale)
        expected = (np.clip(np.round(weight / scale) + zero_point, 0, 255) - zero_point) * scale
        error = np.abs(layer.dequantized_weight().numpy() - expected)
        # A weight half way between two integers may go either way.
        assert (error > 1e-6 * scale + 1e-7).mean() < 1e-3
        assert error.max() <= 1.001 * scale


def test_every_execution_gives_the_same(
    network: QuantizedNetwork, float_model: Model, utterances: Utterances, tmp_path: Path
) -> None:
    reference = rows_of(network.model(), utterances[5:])
    np.testing.assert_array_equal(rows_of(executable(network, 3, "onnxruntime"), utterances[5:]), reference)
    save(tmp_path / "model", network, float_model, {})
    read = load(tmp_path / "model")
    np.testing.assert_array_equal(rows_of(read.network.model(), utterances[5:]), reference)
    assert write_onnx(read.network, tmp_path / "model.onnx", 3).path.exists()
    dequantized = AcousticModel(dequantized_model(read.network, read.model).nnet)
    lost = KullbackLeibler().sum(rows_of(dequantized, utterances[5:]), reference)
    assert lost / len(reference) < 0.01


def test_the_grid_of_an_activation_lies_behind_the_normalization(network: QuantizedNetwork) -> None:
    normalized = [name for name, grid in network.activations.items() if int(grid.zero_point) > 0]
    assert normalized
    types = {
        nnet_of(network.host).components[name].type
        for name in network.activations
        if name in nnet_of(network.host).components
    }
    assert types <= {"FixedBiasComponent", "NoOpComponent", "LinearComponent", "FixedAffineComponent"} | {
        nnet_of(network.host).components[name].type for name in network.layers
    }


def test_folding_before_one_grid_for_a_tensor_is_what_loses(float_model: Model, utterances: Utterances) -> None:
    calibration, held_out = UtteranceSet(utterances[:5], OPTIONS), UtteranceSet(utterances[5:], OPTIONS)
    config = replace(read_preset("baseline"), fold="backwards")
    folded = divergence(quantize(float_model.nnet, config, calibration), held_out).distance
    plain = divergence(quantize(float_model.nnet, replace(config, fold="auto"), calibration), held_out).distance
    assert folded > 5 * plain


def test_what_is_folded_depends_on_the_grids() -> None:
    per_tensor = LayerConfig(per_channel=False)
    assert PtqConfig().folds
    assert not PtqConfig(per_tensor).folds
    assert not PtqConfig(layers={"@output": {"per_channel": False}}).folds
    assert PtqConfig(per_tensor, layers={"@output": {"per_channel": False}}, equalization="cle").folds
    assert PtqConfig(per_tensor, fold="backwards").folds
    assert not PtqConfig(fold="none").folds
    assert not resolve("w4a8", None, None, None, per_channel=False)[1].folds
    assert read_preset("folded-per-tensor").folds
