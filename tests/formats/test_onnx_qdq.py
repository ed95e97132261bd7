"""Quantized networks as ONNX files."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.errors import MissingDependencyError, ModelError
from kaldi_quant.formats.onnx_qdq import check_integer, write_onnx
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.execution.probe import random_network
from kaldi_quant.nnet3.execution.self_test import trusted_form
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from tests.references import REFERENCES, load, read_archive

PERIOD = 3


@pytest.fixture(scope="module")
def feats(example: Path) -> np.ndarray:
    return next(iter(read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")))[1]


@pytest.fixture(scope="module", params=["tdnn1a_sp", "tdnnf1b_sp"])
def network(request: pytest.FixtureRequest, example: Path, feats: np.ndarray) -> QuantizedNetwork:
    nnet = read_model(example / f"exp/chain/{request.param}/final.mdl").nnet
    data = UtteranceSet([("one", feats)], InferenceOptions(ChunkOptions(PERIOD)))
    return quantize(nnet, PtqConfig(LayerConfig(method="minmax"), observer="minmax"), data)


def expected(model: AcousticModel, feats: np.ndarray, outputs: int) -> np.ndarray:
    span = (-model.context.left, (outputs - 1) * PERIOD + model.context.right + 1)
    with torch.inference_mode():
        return model(torch.from_numpy(feats), [span] * len(feats), np.arange(outputs) * PERIOD).numpy()


def run(path: Path, feats: np.ndarray, optimize: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": feats})[0]


def test_a_file_takes_any_number_of_sequences_of_any_length(
    network: QuantizedNetwork, feats: np.ndarray, tmp_path: Path
) -> None:
    graph = write_onnx(network, tmp_path / "dynamic.onnx", PERIOD, form=trusted_form() or "exact")
    onnx.checker.check_model(onnx.load(tmp_path / "dynamic.onnx"), full_check=True)
    model = network.model()
    for batch, outputs in ((1, 1), (3, 2), (2, 40)):
        x = np.stack([feats[i : i + graph.frames(outputs)] for i in range(batch)])
        np.testing.assert_array_equal(run(tmp_path / "dynamic.onnx", x), expected(model, x, outputs))


def test_a_file_may_have_one_length(network: QuantizedNetwork, feats: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    graph = write_onnx(network, path, PERIOD, outputs=17, form=trusted_form() or "exact")
    (value,) = onnx.load(path).graph.input
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, graph.frames(17), 40]
    x = feats[None, : graph.frames(17)]
    np.testing.assert_array_equal(run(path, x), expected(network.model(), x, 17))


def test_as_plain_floats_a_file_means_the_same(network: QuantizedNetwork, feats: np.ndarray, tmp_path: Path) -> None:
    # A runtime that does not fuse computes products in float: a few hidden values lie one step beside.
    graph = write_onnx(network, tmp_path / "signed.onnx", PERIOD)
    x = feats[None, : graph.frames(60)]
    ours, reference = run(tmp_path / "signed.onnx", x, optimize=False), expected(network.model(), x, 60)
    assert np.mean(np.abs(ours - reference) > 1e-5) < 0.2
    assert np.abs(ours - reference).max() < 0.01 * np.abs(reference).max()


def test_a_file_says_what_it_needs(tmp_path: Path) -> None:
    graph = write_onnx(random_network(np.random.default_rng(0), 12, 20, 9), tmp_path / "a.onnx", PERIOD)
    model = onnx.load(tmp_path / "a.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found == {"frame_subsampling_factor": "3", "left_context": "4", "right_context": "1"}
    assert (graph.left_context, graph.right_context, graph.frames(5)) == (4, 1, 18)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    (output,) = model.graph.output
    assert [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] == ["batch", "outputs", 9]


def test_layers_in_float_are_allowed_where_the_network_says_so(
    example: Path, feats: np.ndarray, tmp_path: Path
) -> None:
    nnet = read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet
    data = UtteranceSet([("one", feats)], InferenceOptions(ChunkOptions(PERIOD)))
    config = PtqConfig(LayerConfig(method="minmax"), {"output.*": {"float_reason": "a try"}}, observer="minmax")
    network = quantize(nnet, config, data)
    graph = write_onnx(network, tmp_path / "a.onnx", PERIOD, form=trusted_form() or "exact")
    kinds = {node.op_type for node in optimized_graph(onnx.load(graph.path)).graph.node}
    assert kinds & {"MatMul", "Gemm"} and "QLinearConv" in kinds
    x = feats[None, : graph.frames(60)]
    np.testing.assert_allclose(run(tmp_path / "a.onnx", x), expected(network.model(), x, 60), rtol=0, atol=2e-5)


def test_a_quantized_layer_that_would_run_in_float_is_an_error(tmp_path: Path) -> None:
    write_onnx(random_network(np.random.default_rng(0), 12, 20, 9), tmp_path / "a.onnx", PERIOD)
    model = onnx.load(tmp_path / "a.onnx")
    check_integer(model, optimized_graph(model))
    # onnxruntime fuses nothing where a bias is not in steps of input times weight.
    for tensor in model.graph.initializer:
        if tensor.name == "b.relu.bias.scale":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(20, 0.5, np.float32), tensor.name))
    with pytest.raises(ModelError, match=r"would run the quantized layer b.relu.sums in float, as Conv"):
        check_integer(model, optimized_graph(model))


def test_integer_weights_that_vanish_are_noticed(tmp_path: Path) -> None:
    write_onnx(random_network(np.random.default_rng(0), 12, 20, 9), tmp_path / "a.onnx", PERIOD)
    model = onnx.load(tmp_path / "a.onnx")
    folded = onnx.ModelProto()
    with pytest.raises(ModelError, match="would run 3 quantized layers in float"):
        check_integer(model, folded)


@pytest.mark.parametrize("bits_of_features", [8, 12])
@pytest.mark.parametrize("name", ["fast_lstm", "stats_mean", "attention_optional_inputs", "conv_zero_padding"])
def test_irregular_networks_get_a_file_of_fixed_length(name: str, bits_of_features: int, tmp_path: Path) -> None:
    found = next(one for one in REFERENCES if one.model.parent.name == name)
    utterances = list(read_archive(found.feats).items())[:2]
    data = UtteranceSet(utterances, found.inference().options, found.ivectors())
    config = PtqConfig(LayerConfig(method="minmax"), {"@input": {"act_bits": bits_of_features}}, observer="minmax")
    network = quantize(load(found.model).nnet, config, data)
    with pytest.raises(ModelError, match="it has no ONNX form with any number of frames, only with a fixed one"):
        write_onnx(network, tmp_path / "a.onnx", PERIOD)
    period, outputs, form = 2, 5, trusted_form() or "exact"
    file = write_onnx(network, tmp_path / "a.onnx", period, outputs, form, extra_left_context=4)
    onnx.checker.check_model(onnx.load(file.path), full_check=True)
    x = utterances[0][1][None, : file.frames(outputs)]
    times = np.arange(outputs) * period
    with torch.inference_mode():
        span = (-file.left_context, int(times[-1]) + file.right_context + 1)
        rows = network.model()(torch.from_numpy(x), [span], times).numpy()
    np.testing.assert_allclose(run(file.path, x), rows, rtol=0, atol=1e-5)


def test_extra_context_needs_a_fixed_length(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="extra context is for an ONNX file of fixed length"):
        write_onnx(
            random_network(np.random.default_rng(0), 12, 20, 9), tmp_path / "a.onnx", PERIOD, extra_left_context=4
        )


def test_onnx_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match="an ONNX graph needs onnx and onnxruntime: pip install"):
        write_onnx(random_network(np.random.default_rng(0), 12, 20, 9), tmp_path / "a.onnx", PERIOD)
    assert not list(tmp_path.iterdir())
