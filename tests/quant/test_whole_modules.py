"""PyTorch's and onnxruntime's own quantization of whole networks, as their users get it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.backends.onnx.static_quantization import quantize_static
from kaldi_quant.backends.torch_engines.kernels import supported_engines
from kaldi_quant.backends.torch_engines.whole_modules import (
    MODULE_OBSERVERS,
    convert_module,
    export_module,
    prepare_module,
    quantize_module,
)
from kaldi_quant.errors import DataError, UsageError
from tests.conftest import needs

FUSED = [["conv", "bn", "relu"]]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.relu = nn.Conv1d(1, 6, 5, 2), nn.BatchNorm1d(6), nn.ReLU()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.bn(self.conv(x))).mean(2))


@pytest.fixture
def network() -> Small:
    if "x86" not in supported_engines():
        pytest.skip("PyTorch has no engine x86 on this machine")
    return Small().eval()


def inputs(number: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(number, 8, 1, 40, generator=generator))


def test_x86_has_seven_bits_for_activations_and_a_scale_for_each_channel(network: Small) -> None:
    found = quantize_module(network, FUSED, inputs())
    parts = found.module.module
    assert type(parts.conv).__name__ == "ConvReLU1d" and isinstance(parts.bn, nn.Identity)
    assert parts.conv.weight().q_per_channel_scales().shape == (6,)
    # The largest input of the calibration set lies on the last of 128 steps.
    largest = max(float(x.abs().max()) for x in inputs())
    assert float(found.module.quant.scale) * 127 == pytest.approx(2 * largest, rel=0.2)
    with torch.no_grad():
        x = inputs()[0]
        assert 0 < float((found(x) - network(x)).abs().max()) < 0.1
    assert isinstance(network.bn, nn.BatchNorm1d)


@pytest.mark.parametrize("observer", MODULE_OBSERVERS)
def test_each_observer_has_a_grid_of_its_own(observer: str, network: Small) -> None:
    found = quantize_module(network, FUSED, inputs(), observer).module.quant
    if observer == "histogram-symmetric":
        assert int(found.zero_point) in (64, 128)
    assert 0 < float(found.scale) < 0.1


def test_an_unknown_observer_is_refused(network: Small) -> None:
    with pytest.raises(UsageError, match="'mean' is not one of histogram, histogram-symmetric, moving-average, minmax"):
        quantize_module(network, FUSED, inputs(), "mean")


def test_training_changes_what_is_converted(network: Small) -> None:
    prepared = prepare_module(network, FUSED, inputs()[0])
    before = convert_module(prepared)
    with torch.no_grad():
        prepared.module.fc.bias += 1.0
    x = inputs()[0]
    torch.testing.assert_close(convert_module(prepared)(x), before(x) + 1.0, atol=0.1, rtol=0)


@pytest.mark.parametrize("any_batch", [False, True])
def test_what_pytorch_quantized_runs_in_onnxruntime(any_batch: bool, network: Small, tmp_path: Path) -> None:
    needs("onnxruntime")
    found = quantize_module(network, FUSED, inputs())
    content = export_module(found, inputs()[0][:1], tmp_path / "x.onnx", any_batch).read_bytes()
    x = inputs()[0] if any_batch else inputs()[0][:1]
    there = open_session(content).run(None, {"input": x.numpy()})[0]
    # A step of the output, where PyTorch's kernels round otherwise.
    assert np.abs(there - found(x).numpy()).max() <= 1.01 * float(found.module.module.fc.scale)


def test_onnxruntime_quantizes_a_float_file(network: Small, tmp_path: Path) -> None:
    needs("ml_dtypes")
    float_file, result = tmp_path / "float.onnx", tmp_path / "result.onnx"
    export_module(network, inputs()[0][:1], float_file, any_batch=True)
    quantize_static(float_file, result, ({"input": x.numpy()} for x in inputs()))
    model = onnx.load(result)
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    weights = [entry for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.INT8]
    assert (6, 1, 5) in [tuple(entry.dims) for entry in weights]
    x = inputs()[0]
    there = open_session(result.read_bytes()).run(None, {"input": x.numpy()})[0]
    with torch.no_grad():
        assert 0 < np.abs(there - network(x).numpy()).max() < 0.1


def test_a_float_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"float\.onnx: there is no such file: expected the float network as ONNX"):
        quantize_static(tmp_path / "float.onnx", tmp_path / "result.onnx", [])
    assert not list(tmp_path.iterdir())
