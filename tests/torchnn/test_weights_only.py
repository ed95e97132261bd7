"""Networks of torch with weights alone, or groups of columns with scales of their own, in integers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.formats.container import read_container, write_container
from kaldi_quant.frontends.keywords.networks.m5 import M5
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.groupwise_linear import GroupwiseLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.weight_only import WeightOnlyLinear
from kaldi_quant.train.qat.network import TrainableNetwork

COLUMNS = 40


class Mixture(nn.Module):
    """A layer of each form; the sizes of the features differ much."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(COLUMNS, 24, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(48, 14)
        self.depthwise = nn.Conv1d(14, 28, 3, groups=14, padding=1)
        self.transposed = nn.ConvTranspose1d(28, 6, 4, stride=2)
        self.last = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(self.gru(x)[0]).relu()
        return self.last(self.transposed(self.depthwise(x.transpose(1, 2))).transpose(1, 2))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Mixture().eval()


def data(number: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(number)
    return [torch.randn(3, 12, COLUMNS, generator=random) * torch.logspace(-2, 0.5, COLUMNS) for _ in range(number)]


def made(network: nn.Module, **fields: object) -> Quantized:
    equalization = "awq" if fields.get("act_bits") == 0 else "none"
    config = PtqConfig(LayerConfig(method="clip", **fields), equalization=equalization)  # type: ignore[arg-type]
    return kq.quantize(network, config, calibration=data(3))


@pytest.mark.parametrize(
    ("act_bits", "bits", "group_size"), [(0, 4, 0), (0, 4, 10), (0, 8, 16), (0, 11, 16), (8, 4, 10), (8, 3, 16)]
)
def test_files_hold_what_the_reference_computes(
    network: nn.Module, act_bits: int, bits: int, group_size: int, tmp_path: Path
) -> None:
    quantized = made(network, bits=bits, act_bits=act_bits, group_size=group_size, symmetric=bits == 8)
    kind = GroupwiseLinear if act_bits else WeightOnlyLinear
    assert all(isinstance(layer, kind) for layer in quantized.network.layers.values())
    assert quantized.weights_only == ([] if act_bits else list(quantized.network.layers))
    (x,) = data(1)
    with torch.inference_mode():
        expected = quantized.network.model()(x).numpy()
    kq.save(quantized, tmp_path / "a.safetensors")
    with torch.inference_mode():
        assert np.array_equal(kq.load(tmp_path / "a.safetensors").network.model()(x).numpy(), expected)
    kq.export(quantized, tmp_path / "a.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", options)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    # With activations on grids a value at the middle between two steps may end on the other side.
    tolerance = (0.03 if act_bits else 1e-5) * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    kinds = {each.data_type for each in model.graph.initializer if each.name.endswith(".weight.integers")}
    narrow, byte, wide = onnx.TensorProto.INT4, onnx.TensorProto.INT8, onnx.TensorProto.INT16
    assert kinds == {narrow if bits == 4 else wide if bits > 8 else byte}


def test_weights_alone_lose_less_than_activations_too_and_groups_less_than_rows(network: nn.Module) -> None:
    lost = [
        kq.compare(made(network, bits=4, symmetric=False, **fields), data(2)).distance
        for fields in ({"act_bits": 0, "group_size": 8}, {"act_bits": 0}, {"act_bits": 4})
    ]
    assert lost == sorted(lost)


def test_columns_that_no_rescaling_reaches_have_factors(network: nn.Module) -> None:
    layers = made(network, bits=3, act_bits=0).network.layers
    first = layers["gru.l0.ih"]
    assert isinstance(first, WeightOnlyLinear) and first.factor is not None
    # Inputs of small spread count less.
    assert float(first.factor[:5].max()) < 0.5 * float(first.factor[-5:].min())
    without = kq.quantize(network, PtqConfig(LayerConfig(3, 0, "clip")), calibration=data(3))
    assert kq.compare(made(network, bits=3, act_bits=0), data(2)).distance < kq.compare(without, data(2)).distance


@pytest.mark.parametrize(
    "config",
    [
        PtqConfig(LayerConfig(3, 0, "clip", group_size=10, symmetric=False), equalization="awq"),
        PtqConfig(LayerConfig(3, 8, "clip", group_size=10, symmetric=False)),
        PtqConfig(LayerConfig(3, 8, "clip", group_size=10, ranges="dynamic")),
    ],
    ids=["weights only", "static", "dynamic"],
)
def test_training_begins_at_these_integers_and_learns(config: PtqConfig) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(COLUMNS, 16), nn.ReLU(), nn.Linear(16, 6)).eval()
    rows = [x.flatten(0, 1) for x in data(4)]
    start = kq.quantize(net, config, calibration=rows)
    trained = TrainableNetwork.of(start.network)
    for name, layer in trained.converted().layers.items():
        assert torch.equal(layer.weight.integers, start.network.layers[name].weight.integers)
    with torch.no_grad():
        torch.testing.assert_close(trained.model(rows[0]), start.network.model()(rows[0]))
    tuned = kq.qat(start, rows, epochs=8, lr_initial=1e-3)
    assert type(tuned.network.layers["0"]) is type(start.network.layers["0"])
    assert not torch.equal(tuned.network.layers["0"].weight.scale, start.network.layers["0"].weight.scale)
    assert kq.compare(tuned, rows).distance < 0.9 * kq.compare(start, rows).distance


def test_the_search_chooses_widths_of_weights_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(COLUMNS, 16), nn.ReLU(), nn.Linear(16, 6)).eval()
    rows = [x.flatten(0, 1) for x in data(3)]
    with pytest.raises(UsageError, match="leaves inputs in float: choose widths of weights alone, --act-widths 0"):
        kq.search(net, "awq-w4", calibration=rows, held_out=rows, budget="6 bits")
    found = kq.search(net, "awq-w4-g32", calibration=rows, held_out=rows, budget="7 bits", act_widths=(0,))
    assert (
        found.measured.bits_per_weight == pytest.approx(found.predicted.bits_per_weight)
        and found.quantized.weights_only
    )
    assert found.measured.bits_per_weight <= 7
    assert kq.save(found.quantized, tmp_path / "a.safetensors") == found.measured.bytes == found.predicted.bytes


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        (("weights_only",), False, "factors of columns, which are for inputs in float"),
        (("dynamic",), {"bits": 8, "signed": False}, "an input in float or with dynamic ranges, and not both"),
        (("weight", "group_size"), -1, "group_size is -1, not 0 to"),
        (("weight", "group_size"), 10**30, "group_size is 1000"),
        (("weight", "group_size"), 5, r"should be a vector of float32 of 128"),
        (("weight", "per_channel"), False, "group_size 10 needs per_channel"),
    ],
)
def test_descriptions_that_no_file_has(keys: tuple[str, ...], value: object, sentence: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(COLUMNS, 16), nn.ReLU(), nn.Linear(16, 6)).eval()
    config = PtqConfig(LayerConfig(4, 0, "clip", group_size=10), equalization="awq")
    kq.save(kq.quantize(net, config, calibration=[data(1)[0].flatten(0, 1)]), tmp_path / "a.safetensors")
    container = read_container(tmp_path / "a.safetensors")
    place = container.content["layers"]["0"]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_container(tmp_path / "a.safetensors", container.tensors, container.content)
    with pytest.raises(FormatError, match=sentence):
        kq.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_factors_are_positive_numbers(value: float, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(COLUMNS, 16)).eval()
    kq.save(kq.quantize(net, "awq-w4", calibration=[data(1)[0].flatten(0, 1)]), tmp_path / "a.safetensors")
    container = read_container(tmp_path / "a.safetensors")
    factor = container.tensors["0.factor"].copy()
    factor[3] = value
    write_container(tmp_path / "a.safetensors", {**container.tensors, "0.factor": factor}, container.content)
    with pytest.raises(FormatError, match="which is no positive number"):
        kq.load(tmp_path / "a.safetensors")


def test_the_file_of_a_small_network_is_small(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = M5().eval()
    quantized = kq.quantize(network, "w8a8", calibration=[torch.randn(2, 1, 8000) * 0.1])
    float_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert kq.save(quantized, tmp_path / "a.safetensors") < 0.32 * float_bytes
    kq.export(quantized, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").stat().st_size < 0.34 * float_bytes
