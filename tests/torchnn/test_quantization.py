"""Post-training quantization of torch networks from end to end, and what training in integers begins with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import KullbackLeibler, mean_distance
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.quant.graph import Destination
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.quant.kept_layers import Keeping
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.quant.sensitivity import with_layers
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchHost, TorchSource
from kaldi_quant.torchnn.quantization import calibrate, quantize
from kaldi_quant.train.qat.network import TrainableNetwork
from tests.torchnn.prepared import disturbed
from tests.torchnn.random_networks import RandomNetwork, random_networks

torch.set_num_threads(1)


class Separator(nn.Module):
    """A little of what networks for speech are made of: encoder, depthwise blocks, a mask, a transposed decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, 16, 8, stride=4, padding=4)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(16, 24, 1),
                nn.BatchNorm1d(24),
                nn.ReLU(inplace=True),
                nn.Conv1d(24, 24, 3, padding=2**i, dilation=2**i, groups=24),
                nn.BatchNorm1d(24),
                nn.ReLU(inplace=True),
                nn.Conv1d(24, 16, 1),
            )
            for i in range(3)
        )
        self.mask, self.decoder = nn.Conv1d(16, 16, 1), nn.ConvTranspose1d(16, 1, 8, stride=4, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        y = z = functional.relu(self.encoder(x))
        for block in self.blocks:
            z = z + block(z)
        return self.decoder(y * torch.sigmoid(self.mask(z)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Separator()
    with torch.no_grad():
        # BatchNorms know what they get, as after training.
        network.train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = None
        for x in signals(8, 1):
            network(x)
    return network.eval()


def signals(number: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(number, 1, 431, generator=generator)
    return list(functional.avg_pool1d(noise, 32, stride=1).mul(5).split(1))


def error(network: nn.Module, quantized: QuantizedNetwork) -> float:
    """The share of the output's energy that is lost on other signals."""
    model, lost, energy = quantized.model(), 0.0, 0.0
    with torch.no_grad():
        for x in signals(4, 2):
            y = network(x)
            lost, energy = lost + float((model(x) - y).square().sum()), energy + float(y.square().sum())
    return lost / energy


METHODS = ("minmax", "mse", "gptq", "descent", "adaround")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_methods_of_rounding(network: nn.Module, method: str, per_channel: bool) -> None:
    # What learns from rows takes time: one layer with groups and one without.
    layers = {"*": {"method": "mse"}, "blocks.1.3": {"method": method}, "blocks.1.6": {"method": method}}
    config = PtqConfig(LayerConfig(bits=8, per_channel=per_channel), layers if method == "adaround" else {})
    config = replace(config, default=replace(config.default, method="mse" if method == "adaround" else method))
    assert error(network, quantize(network, config, TensorData(signals(6, 1)))) < 0.003


def test_better_methods_lose_less(network: nn.Module) -> None:
    data = TensorData(signals(6, 1))
    default = LayerConfig(bits=4, method="minmax", symmetric=False)
    losses = [
        error(network, quantize(network, PtqConfig(replace(default, method=method), sequential=True), data))
        for method in ("minmax", "gptq", "descent")
    ]
    assert max(losses[1:]) < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("preset", "most"), [("w8a8", 0.002), ("w4a8", 0.05), ("w4a4", 0.3), ("w8a6", 0.01), ("baseline", 0.02)]
)
def test_presets(network: nn.Module, preset: str, most: float) -> None:
    quantized = quantize(network, read_preset(preset), TensorData(signals(6, 1)))
    assert not quantized.float_layers
    assert len(quantized.layers) == 12
    assert error(network, quantized) < most


def test_ranges_that_are_found_anew(network: nn.Module) -> None:
    config = PtqConfig(LayerConfig(ranges="dynamic"), {"encoder": {"ranges": "static"}})
    quantized = quantize(network, config, TensorData(signals(6, 1)))
    assert isinstance(quantized.layers["mask"], DynamicLinear)
    assert list(quantized.activations) == ["x"]
    assert error(network, quantized) < 0.002


def test_what_is_on_a_grid_and_what_is_not(network: nn.Module) -> None:
    host = TorchSource(network, signals(1, 1)[0]).prepare(fold=True)
    assert set(host.float_operations()) == {"sigmoid"}
    quantized = quantize(network, PtqConfig(LayerConfig()), TensorData(signals(6, 1)))
    graph = quantized.graph
    assert graph.destination("encoder") == Destination("relu", relu=True)
    assert graph.destination("blocks.1.3") == Destination("blocks.1.5", relu=True)
    # Its result is added to integers.
    assert graph.destination("blocks.0.6") == Destination("blocks.0.6", relu=False)
    assert set(graph.sums) == {name for name, node in host.nodes.items() if node.op == "add"}
    # The mask and what it multiplies, which the decoder reads.
    assert set(graph.elementwise) == {"mul"} and {"sigmoid", "relu"} <= set(graph.nodes)
    assert graph.destination("mask") is None
    assert layer_kinds(host.nodes)["blocks.0.0"] == {"convolution"}


def test_twelve_lines_of_a_network_are_quantized_in_ten() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(20, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 5),
    )
    inputs = [torch.randn(32, 20) for _ in range(10)]

    network.eval()
    config = read_preset("w4a8")
    data = TensorData(inputs)
    quantized = quantize(network, config, data, distance=KullbackLeibler())
    model = quantized.model()
    scores = model(inputs[0])
    lost = divergence(quantized, data)

    assert scores.shape == (32, 5)
    assert lost.unit == "nats" and 0 < lost.distance < 0.01
    assert set(lost.sqnr_db) == {"0", "3", "5"} and min(lost.sqnr_db.values()) > 10


def test_weights_that_are_shared_are_quantized_once() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.first(x))
            for _ in range(3):
                x = functional.relu(self.shared(x))
            return self.last(x)

    torch.manual_seed(0)
    network = Shared()
    data = [torch.randn(20, 6) for _ in range(10)]
    for method in ("descent", "adaround"):
        config = PtqConfig(LayerConfig(method=method), sequential=True)
        quantized = quantize(network, config, TensorData(data))
        assert list(quantized.layers) == ["first", "shared", "last"]
        grids = [quantized.activations[name] for name in ("relu", "relu:2", "relu:3")]
        assert all(grid is grids[0] for grid in grids)
        assert quantized.activations["relu:4"] is not grids[0]
        with torch.no_grad():
            lost = (quantized.model()(data[0]) - network(data[0])).std() / network(data[0]).std()
        assert lost < 0.03
        fake = TrainableNetwork.of(quantized)
        with torch.no_grad():
            torch.testing.assert_close(fake.model(data[0]), quantized.model()(data[0]), rtol=0, atol=1e-6)


def some_networks(number: int, first: int) -> list[RandomNetwork]:
    return list(random_networks(number, first, layers=(3, 7)))


def test_random_networks_in_integers_are_near_float_ones() -> None:
    losses = []
    for found in some_networks(40, 4000):
        config = PtqConfig(LayerConfig(method="mse"), observer="minmax")
        quantized = quantize(found.network, config, TensorData(found.inputs(4, batch=6)))
        x = found.inputs(1, batch=6)[0]
        with torch.no_grad():
            y = found.network(x.clone())
            losses.append(float((quantized.model()(x) - y).norm() / y.norm().clamp_min(1e-6)))
    assert sorted(losses)[len(losses) // 2] < 0.01
    assert max(losses) < 0.3


@pytest.mark.parametrize(
    "config",
    [
        PtqConfig(LayerConfig(bits=8)),
        PtqConfig(LayerConfig(bits=4, act_bits=6, method="gptq", per_channel=False, symmetric=False)),
        PtqConfig(LayerConfig(bits=3, method="descent", symmetric=False), {"@input": {"bits": 8}}, sequential=True),
    ],
)
def test_training_begins_at_the_integers_of_the_reference(config: PtqConfig) -> None:
    for found in some_networks(25, 4500):
        start = quantize(found.network, config, TensorData(found.inputs(3, batch=4)))
        trainable = TrainableNetwork.of(start)
        x = found.inputs(2, batch=3)[1]
        with torch.no_grad():
            expected, result = start.model()(x), trainable.model(x)
        size = float(expected.abs().max()) or 1.0
        # A float may fall on the other side of half a step here and there.
        assert float((result - expected).abs().median()) <= 1e-5 * size, found.seed
        converted = trainable.converted()
        for name, layer in start.layers.items():
            assert torch.equal(converted.layers[name].weight.integers, layer.weight.integers)
            torch.testing.assert_close(converted.layers[name].weight.scale, layer.weight.scale)
            assert converted.layers[name].weight.groups == layer.weight.groups
        with torch.no_grad():
            again = converted.model()(x)
        assert float((again - expected).abs().median()) <= 1e-5 * size


def test_gradients_reach_every_weight(network: nn.Module) -> None:
    start = quantize(network, PtqConfig(LayerConfig(bits=4)), TensorData(signals(3, 1)))
    trainable = TrainableNetwork.of(start)
    parts = trainable.components()
    x = signals(1, 3)[0]
    trainable.model.train()
    (trainable.model(x) - network(x)).square().mean().backward()
    for part in [*parts, *trainable.scales()]:
        for parameter in part.parameters.values():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), part.name
    assert all(part.parameters["steps"].grad.any() for part in parts if "steps" in part.parameters)
    assert not trainable.model.region.training


def test_equalization_changes_no_float_and_helps_few_bits(network: nn.Module) -> None:
    host = TorchSource(network, signals(1, 1)[0]).prepare(fold=True)
    groups = host.channel_groups()
    # Channels that depthwise layers read are in no group, as their columns meet one row each.
    assert [next(iter(group.producers)) for group in groups] == [f"blocks.{i}.3" for i in range(3)]
    assert [list(group.consumers) for group in groups] == [[f"blocks.{i}.6"] for i in range(3)]
    for method in ("cle", "smoothquant", "awq"):
        config = PtqConfig(LayerConfig(), equalization=method)
        assert error(network, quantize(network, config, TensorData(signals(6, 1)))) < 0.003


def test_what_torch_networks_do_not_have_is_refused(network: nn.Module) -> None:
    with pytest.raises(UsageError, match="with the backend kaldi_quant, not torch"):
        quantize(network, PtqConfig(LayerConfig(), backend="torch", observer="minmax"), TensorData(signals(2, 1)))
    with pytest.raises(UsageError, match="'nothing' matches no layer; the layers are encoder"):
        quantize(network, PtqConfig(layers={"nothing": {"bits": 4}}), TensorData(signals(2, 1)))


def test_layers_may_stay_in_float_by_name(network: nn.Module) -> None:
    config = PtqConfig(layers={"blocks.*.3": {"float_reason": "there is time enough"}})
    quantized = quantize(network, config, TensorData(signals(3, 1)))
    assert set(quantized.float_layers) == {f"blocks.{i}.3" for i in range(3)}
    assert error(network, quantized) < 0.002
    part = with_layers(quantized, {"encoder", "mask"})
    assert error(network, part) < error(network, quantized)
    trainable = TrainableNetwork.of(quantized)
    assert {part.name for part in trainable.components()} >= {"blocks.0.3", "encoder weight"}


def test_ranges_and_kept_layers_give_the_same(network: nn.Module, tmp_path: Path) -> None:
    data, config = signals(4, 1), PtqConfig(LayerConfig(bits=4, method="gptq"))
    first = quantize(network, config, TensorData(data), keeping=Keeping(tmp_path))
    again = quantize(network, config, TensorData(data), keeping=Keeping(tmp_path))
    ranges = calibrate(network, config, TensorData(data))
    by_ranges = quantize(network, config, TensorData(data), ranges=ranges)
    for other in (again, by_ranges):
        for name, layer in first.layers.items():
            assert torch.equal(other.layers[name].weight.integers, layer.weight.integers)
            assert other.layers[name].weight.groups == layer.weight.groups
    assert first.layers["blocks.0.3"].weight.groups == 24
    x = signals(1, 5)[0]
    with torch.no_grad():
        assert torch.equal(first.model()(x), again.model()(x))


def test_a_host_can_be_quantized_again(network: nn.Module) -> None:
    data, config = TensorData(signals(4, 1)), PtqConfig(LayerConfig(method="minmax"))
    once = quantize(network, config, data)
    host = once.dequantized()
    assert isinstance(host, TorchHost)
    again = quantize(host, config, data)
    for name, layer in once.layers.items():
        torch.testing.assert_close(again.layers[name].dequantized_weight(), layer.dequantized_weight())


def test_networks_with_modules_that_cannot_be_traced() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Sequential(nn.Conv1d(4, 8, 1), nn.BatchNorm1d(8), nn.ReLU(True), nn.Conv1d(8, 4, 1))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2 if x.mean() > -1e9 else 1):
                x = x + self.gate(x)
            return x

    torch.manual_seed(0)
    network = disturbed(nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), Odd(), nn.Conv1d(4, 2, 1)))
    data = [torch.randn(2, 2, 20) for _ in range(6)]
    for sequential in (False, True):
        quantized = quantize(network, PtqConfig(LayerConfig(), sequential=sequential), TensorData(data))
        assert list(quantized.layers) == ["0", "2.gate.0", "2.gate.3", "3"]
        assert quantized.graph.destination("2.gate.0") == Destination("2.gate.2", relu=True)
        with torch.no_grad():
            y = network(data[0])
            assert (quantized.model()(data[0]) - y).std() < 0.05 * y.std()
    assert list(quantized.host.float_operations()) == ["2"]
    float_rows, rows = (
        dict(TensorData(data[:2]).outputs(model)) for model in (quantized.host.executable(), quantized.model())
    )
    assert 0 < mean_distance(quantized.host.distance, float_rows, rows) < 0.1
