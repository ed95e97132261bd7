"""Inputs of torch networks: by name or numbered, and what becomes of those that cannot be used."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.executable import TorchExecutable
from kaldi_quant.torchnn.host import TorchSource
from kaldi_quant.torchnn.quantization import quantize


def model_of(network: nn.Module, *example: Tensor) -> TorchExecutable:
    return TorchSource(network, example).prepare(fold=True).executable()


def test_inputs_are_numbered_or_have_names() -> None:
    x = [torch.randn(2, 3) for _ in range(30)]
    data = TensorData(x)
    assert data.names == [str(i) for i in range(30)]
    assert TensorData({"a": x[0], "b": (x[1],)}).names == ["a", "b"]
    assert data.some(4).names == ["0", "7", "15", "22"]
    assert data.some(100).names == data.names
    assert [one.names for one in data.some(2).one_by_one()] == [["0"], ["15"]]
    assert data.amount() == 180
    data.keep(["3", "5", "x"])
    assert data.names == ["3", "5"]


def test_outputs_are_rows_of_whatever_axis_holds_columns() -> None:
    network, x = nn.Conv1d(3, 5, 3), torch.randn(2, 3, 8)
    model = model_of(network, x)
    with torch.no_grad():
        expected = network(x)
    for axis, rows in ((1, expected.movedim(1, -1).reshape(12, 5)), (-1, expected.reshape(10, 6))):
        ((name, found),) = TensorData([x], columns=axis).outputs(model)
        assert name == "0" and found.dtype == np.float32
        np.testing.assert_allclose(found, rows, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="3 axes and no axis 3"):
        list(TensorData([x], columns=3).outputs(model))


def test_of_several_results_one_is_the_output() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"mask": torch.sigmoid(self.layer(x)), "energy": x.sum()}

    x = torch.randn(4, 3)
    model = model_of(Network(), x)
    with pytest.raises(UsageError, match="returns 2 tensors: output must say which"):
        list(TensorData([x]).outputs(model))
    with pytest.raises(UsageError, match="returns nothing at 'masks'"):
        list(TensorData([x], output="masks").outputs(model))
    assert next(TensorData([x], output="mask").outputs(model))[1].shape == (4, 2)
    assert next(TensorData([x], output="energy").outputs(model))[1].shape == (1, 1)


def test_inputs_that_cannot_be_used_are_told_by_name(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(3, 2, 3), nn.ReLU(), nn.Conv1d(2, 2, 1))
    x = torch.randn(2, 3, 8)
    bad = {
        "not finite": torch.full((2, 3, 8), torch.nan),
        "channels": torch.randn(2, 4, 8),
        "short": torch.randn(2, 3, 2),
        "axes": torch.randn(2, 3, 8, 1),
        "integers": torch.ones(2, 3, 8, dtype=torch.int64),
        "two": (x, x),
        "infinite output": x * 1e38,
    }
    data = TensorData({"good": x, **bad}, max_bad_share=0.9)
    model = model_of(network, x)
    with torch.no_grad():
        model.slot("0").weight.fill_(10.0)
    reported: dict[str, str] = {}

    class Reports(BadUtterances):
        def report(self, utterance: str, reason: Exception) -> None:
            reported[utterance] = str(reason)

    assert [name for name, _ in data.outputs(model, Reports())] == ["good"]
    assert list(reported) == list(bad)
    assert "values that are not finite" in reported["not finite"]
    for name in ("channels", "short"):
        assert "cannot compute inputs of shape (2," in reported[name]
    assert "should have 3 axes" in reported["axes"]
    assert "should be torch.float32" in reported["integers"]
    assert "too many positional arguments" in reported["two"]
    assert "output is not finite" in reported["infinite output"]
    data.run(model, "calibrating")
    assert data.names == ["good"]
    assert "leaving out utterance channels" in caplog.text


def test_too_many_inputs_that_cannot_be_used_fail_the_job() -> None:
    network, x = nn.Conv1d(3, 2, 3), torch.randn(2, 3, 8)
    config = PtqConfig(LayerConfig())
    with pytest.raises(DataError, match="3 of 4 utterances could not be used"):
        quantize(network, config, TensorData([x, *[torch.randn(2, 5, 8)] * 3]))
    with pytest.raises(DataError, match="the calibration set is empty"):
        quantize(network, config, TensorData([]))


def test_digests_tell_data_from_each_other() -> None:
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    digests = [
        TensorData([x, y]).digest(),
        TensorData([y, x]).digest(),
        TensorData([x]).digest(),
        TensorData({"a": x}).digest(),
        TensorData([(x,), y], columns=1).digest(),
        TensorData([{"x": x}]).digest(),
        TensorData([(x, 1)]).digest(),
        TensorData([(x, 2)]).digest(),
    ]
    assert len(set(digests)) == len(digests)
    assert TensorData([x.clone(), (y,)]).digest() == digests[0]
