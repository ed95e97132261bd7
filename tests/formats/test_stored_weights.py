"""Kaldi's networks with weights alone, or groups of columns with scales of their own, in integers: as ONNX files."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kaldi_quant.errors import ModelError
from kaldi_quant.formats.artefact import save
from kaldi_quant.formats.onnx_qdq import write_onnx
from kaldi_quant.formats.sizes import bits_per_weight
from kaldi_quant.formats.summary import summary_lines
from kaldi_quant.nnet3.execution.choice import executable
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.quant.groupwise_linear import GroupwiseLinear
from tests.formats.quantized_examples import quantized

PERIOD, OUTPUTS = 3, 11


def expected(model: AcousticModel, inputs: dict[str, np.ndarray]) -> np.ndarray:
    span = (-model.context.left, (OUTPUTS - 1) * PERIOD + model.context.right + 1)
    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.inference_mode():
        return model(given["input"], [span] * 2, np.arange(OUTPUTS) * PERIOD, given.get("ivector")).numpy()


@pytest.mark.parametrize("config", ["weights-only", "by-groups"])
@pytest.mark.parametrize("name", ["tdnn_lda", "conv_usual", "ivector_utterance", "tdnnf_small"])
def test_onnxruntime_gives_what_the_reference_does(name: str, config: str, tmp_path: Path) -> None:
    _, network, _ = quantized(name, config)
    path, model = tmp_path / "a.onnx", network.model()
    graph = write_onnx(network, path, PERIOD)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    rng = np.random.default_rng(0)
    inputs = {"input": rng.standard_normal((2, graph.frames(OUTPUTS), model.input_dim)).astype(np.float32)}
    if model.ivector_dim:
        inputs["ivector"] = rng.standard_normal((2, model.ivector_dim)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(path, options)
    found, wanted = session.run(["output"], inputs)[0], expected(model, inputs)
    if config == "weights-only":
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
        assert network.weights_only == list(network.layers) and not network.activations
    else:
        # Where a float is at the middle between two steps, the sum in another order may end on the other side.
        assert all(isinstance(layer, GroupwiseLinear) for layer in network.layers.values())
        assert np.mean(np.abs(found - wanted) > 1e-4 * np.abs(wanted).max()) < 0.4
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    # That kernel would round the input to 8 bits.
    assert "MatMulNBits" not in {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}


def test_four_bits_take_four_bits(tmp_path: Path) -> None:
    _, network, _ = quantized("tdnn_lda", "weights-only")
    write_onnx(network, tmp_path / "a.onnx", PERIOD)
    kinds = {each.name: each.data_type for each in onnx.load(tmp_path / "a.onnx").graph.initializer}
    weights = [kind for name, kind in kinds.items() if name.endswith(".weight.integers")]
    assert weights == [onnx.TensorProto.INT4] * len(network.layers)
    count = sum(layer.weight.integers.numel() for layer in network.layers.values())
    scales = sum(layer.weight.scale.numel() for layer in network.layers.values())
    factors = sum(layer.factor.numel() for layer in network.layers.values() if layer.factor is not None)  # type: ignore[union-attr]
    assert bits_per_weight(network) == pytest.approx(4 + (36 * scales + 32 * factors) / count)


def test_a_file_says_so(tmp_path: Path) -> None:
    model, network, _ = quantized("tdnn_lda", "weights-only")
    save(tmp_path / "a.safetensors", network, model, {"frame_subsampling_factor": 3})
    lines = [line for line in summary_lines(tmp_path / "a.safetensors") if line.startswith("layer:")]
    assert len(lines) == len(network.layers)
    assert all("weight-bits=4, group-size=24, weights only, rows=" in line for line in lines)


def test_the_reference_runs_them(caplog: pytest.LogCaptureFixture) -> None:
    _, network, _ = quantized("tdnn_lda", "weights-only")
    assert isinstance(executable(network, PERIOD), AcousticModel) and not caplog.records
    with pytest.raises(ModelError, match="weights alone, or groups of columns with scales of their own, are quantized"):
        executable(network, PERIOD, "onnxruntime")


def test_recurrent_networks_have_no_such_file(tmp_path: Path) -> None:
    _, network, _ = quantized("fast_lstmp", "weights-only")
    with pytest.raises(ModelError, match="has an ONNX form only where the network has one with any number of frames"):
        write_onnx(network, tmp_path / "a.onnx", PERIOD, outputs=5)
