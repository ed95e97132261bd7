"""Torch networks in onnxruntime: the integers of the reference, and torch's own floats between them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.config import LayerConfig, PtqConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.onnx.file import onnx_graph, write_onnx
from kaldi_quant.torchnn.quantization import quantize
from tests.torchnn.onnx_runs import assert_integer_products, assert_same, run
from tests.torchnn.random_networks import random_networks

torch.set_num_threads(1)

CONFIGS = {
    "rows": PtqConfig(LayerConfig(bits=8), bias_correction=False),
    "matrix": PtqConfig(
        LayerConfig(bits=4, act_bits=6, per_channel=False, symmetric=False, method="minmax"),
        observer="minmax",
        bias_correction=False,
    ),
    "wide": PtqConfig(LayerConfig(bits=6, act_bits=13, method="minmax"), observer="minmax", bias_correction=False),
}


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, compute: Callable[..., Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.compute(*inputs)


class Beside(nn.Module):
    """What a layer makes of the input, and beside it a function's result: (N, T, 6)."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), self.function(x)


def quantized(
    network: nn.Module, x: Tensor, config: str | PtqConfig = "rows", output: int | None = None
) -> QuantizedNetwork:
    found = CONFIGS[config] if isinstance(config, str) else config
    torch.manual_seed(1)
    return quantize(network.eval(), found, TensorData((torch.randn(x.shape) for _ in range(3)), output=output))


def check(network: nn.Module, x: Tensor, config: str, *others: Tensor) -> onnx.ModelProto:
    """Compares at the example's lengths and at others, in the free and in the fixed form."""
    found = quantized(network, x, config)
    graph = onnx_graph(found, x)
    assert_integer_products(graph)
    for each in (x, *others):
        assert assert_same(found, graph, each * 1.5) > 0
    assert_same(found, onnx_graph(found, x, dynamic_axes=False), x)
    return graph.model


LAYERS = {
    "linear, rows": (lambda: nn.Linear(6, 5), (2, 6)),
    "linear, sequences": (lambda: nn.Linear(6, 5), (2, 7, 6)),
    "linear, images": (lambda: nn.Linear(6, 5, bias=False), (2, 3, 4, 6)),
    "convolution": (lambda: nn.Conv1d(6, 5, 3), (2, 6, 9)),
    "strided": (lambda: nn.Conv1d(6, 5, 4, stride=3, padding=2), (2, 6, 9)),
    "dilated": (lambda: nn.Conv1d(6, 5, 3, dilation=2, padding=3, bias=False), (2, 6, 9)),
    "same": (lambda: nn.Conv1d(6, 5, 4, padding="same"), (2, 6, 9)),
    "groups": (lambda: nn.Conv1d(6, 4, 3, groups=2), (2, 6, 9)),
    "depthwise": (lambda: nn.Conv1d(6, 6, 5, padding=2, groups=6), (2, 6, 9)),
    "reflected": (lambda: nn.Conv1d(6, 5, 3, padding=2, padding_mode="reflect"), (2, 6, 9)),
    "circular": (lambda: nn.Conv1d(6, 5, 3, padding=2, padding_mode="circular"), (2, 6, 9)),
    "plane": (lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(0, 1)), (2, 3, 7, 6)),
    "depthwise plane": (lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3), (2, 3, 7, 6)),
    "space": (lambda: nn.Conv3d(2, 3, 2, padding=(1, 0, 1)), (2, 2, 4, 5, 3)),
    "transposed": (lambda: nn.ConvTranspose1d(6, 5, 4, stride=2, padding=1), (2, 6, 7)),
    "transposed, longer": (lambda: nn.ConvTranspose1d(6, 5, 2, stride=3, output_padding=2), (2, 6, 7)),
    "transposed, dilated": (lambda: nn.ConvTranspose1d(6, 4, 3, stride=2, dilation=3, groups=2), (2, 6, 7)),
    "transposed plane": (
        lambda: nn.ConvTranspose2d(3, 4, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 0)),
        (2, 3, 4, 5),
    ),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_whose_result_is_wanted_in_float_and_on_a_grid(name: str, config: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    one, x = make(), torch.randn(shape)
    with torch.no_grad():
        channels = one(x).shape[-1 if isinstance(one, nn.Linear) else 1]
    kind = [nn.Linear, None, nn.Conv1d, nn.Conv2d, nn.Conv3d][0 if isinstance(one, nn.Linear) else len(shape) - 1]
    last = nn.Linear(channels, 3) if kind is nn.Linear else kind(channels, 3, 1)
    longer = torch.randn(3, shape[1], *(size + 2 for size in shape[2:]))
    others = [torch.randn(3, *shape[1:])] if isinstance(one, nn.Linear) else [longer]
    check(nn.Sequential(nn.Tanh(), one), x, config, *others)
    check(nn.Sequential(one, nn.ReLU(), last), x, config, *others)
    check(nn.Sequential(one, last), x, config, *others)


class SharedGrid(nn.Module):
    """A ReLU whose grid has negative values, too, as it lies beside a value that has them."""

    def __init__(self, kind: type[nn.Module], *size: int) -> None:
        super().__init__()
        self.one, self.other, self.last = kind(4, 4, *size), kind(4, 4, *size), kind(8, 3, *size)

    def forward(self, x: Tensor) -> Tensor:
        axis = 1 if isinstance(self.one, nn.Conv1d) else -1
        return self.last(torch.cat([self.one(x).relu(), self.other(x)], axis))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_relu_on_a_grid_of_negative_values(config: str) -> None:
    for network, shape in ((SharedGrid(nn.Linear), (5, 4)), (SharedGrid(nn.Conv1d, 1), (2, 4, 7))):
        found = quantized(network, torch.randn(shape), config)
        assert int(found.activations["relu"].zero_point) > 0
        graph = onnx_graph(found, torch.randn(shape))
        assert_same(found, graph, torch.randn(shape))
        assert_integer_products(graph)


@pytest.mark.parametrize("name", ["linear, rows", "convolution", "depthwise plane", "transposed"])
def test_weights_for_processors_that_would_saturate(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    one, x = make(), torch.randn(shape)
    with torch.no_grad():
        channels = one(x).shape[-1 if isinstance(one, nn.Linear) else 1]
    last = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d}[len(shape)]
    network = nn.Sequential(one, nn.ReLU(), last(channels, 3) if last is nn.Linear else last(channels, 3, 1))
    found = quantized(network, x)
    graph = onnx_graph(found, x, form="exact")
    kinds = {each.data_type for each in graph.model.graph.initializer if len(each.dims) > 1}
    assert onnx.TensorProto.UINT8 in kinds and onnx.TensorProto.INT8 not in kinds
    assert_same(found, graph, x)
    assert_integer_products(graph)


def test_a_single_sequence_without_a_batch() -> None:
    x = torch.randn(3, 8)
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.ConvTranspose1d(4, 2, 3, stride=2))
    check(network, x, "rows", torch.randn(3, 11))
    check(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5), "rows")


MOVES = {
    "reshape": lambda x: x.reshape(x.shape[0], 2, -1).reshape(x.shape[0], 4, -1),
    "view like": lambda x: x.view(x.size()).view_as(x),
    "flatten": lambda x: x.unflatten(1, (2, 2)).flatten(1, 2),
    "flatten the end": lambda x: (
        x.unflatten(1, (2, 2)).transpose(2, 3).flatten(2).unflatten(2, (-1, 2)).flatten(1, 1).flatten(2)
    ),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "transpose": lambda x: x.transpose(1, 2).permute(0, 2, 1).movedim(2, 1).mT,
    "flip": lambda x: x.flip(-1),
    "roll": lambda x: x.roll(2, -1).roll(-1, 1),
    "cat": lambda x: torch.cat([x, x.flip(1)], -1),
    "stack": lambda x: torch.stack([x, x.flip(1)], 2).flatten(2),
    "slices": lambda x: x[:, 1:, 2:-1:2],
    "ellipsis": lambda x: x[..., 1:],
    "a place": lambda x: x[:, :, -1].unsqueeze(-1),
    "split": lambda x: torch.cat(list(x.split(3, 1))[::-1], 1),
    "split by sizes": lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1),
    "chunk": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "narrow": lambda x: x.narrow(-1, 2, 3),
    "select": lambda x: x.select(1, 2).unsqueeze(1),
    "expand": lambda x: x[:, :1].expand(-1, 4, -1),
    "repeat": lambda x: x.repeat(1, 2, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(3, 2),
    "unfold": lambda x: x.unfold(2, 3, 2).flatten(2),
    "pad": lambda x: functional.pad(x, (1, 3)),
    "cut by pad": lambda x: functional.pad(x, (-1, 2)),
    "replicate": lambda x: functional.pad(x, (2, 1), mode="replicate"),
    "max_pool": lambda x: functional.max_pool1d(x, 3, 2, 1),
    "amax": lambda x: x.amax(-1, keepdim=True),
    "adaptive_max_pool to one": lambda x: functional.adaptive_max_pool1d(x, 1),
    "nearest": lambda x: functional.interpolate(x, scale_factor=1.5, mode="nearest"),
    "nearest-exact": lambda x: functional.interpolate(x, scale_factor=0.7, mode="nearest-exact"),
}


@pytest.mark.parametrize("config", ["matrix", "wide"])
@pytest.mark.parametrize("name", MOVES)
def test_moves_are_made_with_integers(name: str, config: str) -> None:
    torch.manual_seed(0)
    x, move = torch.randn(2, 3, 9), MOVES[name]
    with torch.no_grad():
        channels = move(torch.zeros(2, 4, 9)).shape[1]
    network = nn.Sequential(nn.Conv1d(3, 4, 1), Function(move), nn.Conv1d(channels, 2, 1))
    model = check(network, x, config, torch.randn(3, 3, 9), torch.randn(1, 3, 14))
    if config == "matrix":
        kinds = Counter(node.op_type for node in model.graph.node)
        # Of what the layers read, of their weights and of their biases; the input and the first result.
        assert (kinds["DequantizeLinear"], kinds["QuantizeLinear"]) == (6, 2)


def test_moves_of_images() -> None:
    torch.manual_seed(0)
    moves = [nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.MaxPool2d(2), nn.AdaptiveMaxPool2d((2, 3)), nn.ZeroPad2d(1)]
    for move in [*moves, nn.Upsample(scale_factor=2), nn.ChannelShuffle(2), nn.MaxPool2d(3, 1, 1, dilation=1)]:
        x = torch.randn(2, 3, 4, 6)
        channels = move(torch.zeros(2, 4, 4, 6)).shape[1]
        check(nn.Sequential(nn.Conv2d(3, 4, 1), move, nn.Conv2d(channels, 2, 1)), x, "matrix")


@pytest.mark.parametrize("config", ["rows", "matrix"])
def test_sums_on_grids(config: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.last = nn.Conv1d(3, 4, 1), nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            both = 0.75 * self.one(x) - functional.relu(self.other(x))
            return self.last(both + both)

    found = quantized(Network(), torch.randn(2, 3, 6), config)
    assert len(found.graph.sums) == 2
    graph = onnx_graph(found, torch.randn(2, 3, 6))
    assert assert_same(found, graph, torch.randn(3, 3, 50)) > 0


def test_sums_of_wide_integers_are_refused() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return self.last(x + x.relu())

    found = quantized(Network(), torch.randn(2, 3), "wide")
    with pytest.raises(ModelError, match="the sum add is not one of unsigned integers of at most 8 bits"):
        onnx_graph(found, torch.randn(2, 3))


FLOATS = {
    "relu": functional.relu,
    "elu": nn.ELU(0.7),
    "celu": nn.CELU(0.7),
    "selu": nn.SELU(),
    "gelu": nn.GELU(),
    "gelu, tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(2.0, 3.0),
    "logsigmoid": nn.LogSigmoid(),
    "prelu": nn.PReLU(),
    "prelu, channels": nn.PReLU(4),
    "leaky": nn.LeakyReLU(0.2),
    "sigmoid": nn.Sigmoid(),
    "tanh": torch.tanh,
    "hardtanh": nn.Hardtanh(-0.5, 0.7),
    "relu6": nn.ReLU6(),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
    "clamp": lambda x: x.clamp(-0.3, 0.4).clamp(max=0.2),
    "softmax": nn.Softmax(-1),
    "log_softmax": nn.LogSoftmax(1),
    "glu": lambda x: functional.glu(x, -1).repeat(1, 1, 2),
    "layer_norm": nn.LayerNorm(6),
    "layer_norm, two axes": nn.LayerNorm((4, 6), elementwise_affine=False),
    "group_norm": nn.GroupNorm(2, 4),
    "instance_norm": nn.InstanceNorm1d(4, affine=True),
    "batch_norm": nn.BatchNorm1d(4, track_running_stats=False),
    "average": nn.AvgPool1d(3, 1, 1),
    "average, without padding": nn.AvgPool1d(3, 1, 1, count_include_pad=False),
    "adaptive average": lambda x: functional.adaptive_avg_pool1d(x, 1).expand(-1, -1, 6),
    "mean": lambda x: x - x.mean(-1, keepdim=True) + x.mean((1, 2), keepdim=True),
    "sum": lambda x: x + x.sum(1, keepdim=True),
    "var": lambda x: x / (x.var(-1, keepdim=True) + x.std(1, keepdim=True, correction=0)),
    "mul": lambda x: x * torch.sigmoid(x) * 3,
    "div": lambda x: 2 / (x.square() + 1),
    "pow": lambda x: (x.abs() + 1) ** 0.5,
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 1) - x.exp().log(),
    "add": lambda x: torch.add(1.5 - x, x[:, :1], alpha=2),
    "least and greatest": lambda x: torch.maximum(x, x.flip(1)) - torch.minimum(x, x.flip(-1)),
    "pad with ones": lambda x: functional.pad(x, (1, 0), value=1.0)[..., 1:],
    "ones": lambda x: torch.ones_like(x) - x,
    "attention": lambda x: torch.softmax(x @ x.transpose(1, 2) / 2, -1) @ x,
}


@pytest.mark.parametrize("name", FLOATS)
def test_functions_in_float(name: str) -> None:
    torch.manual_seed(0)
    function = FLOATS[name] if isinstance(FLOATS[name], nn.Module) else Function(FLOATS[name])
    for parameter in function.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 6)
    found = quantized(Beside(function), x, output=0)
    graph = onnx_graph(found, x)
    for each in (x, torch.randn(5, 4, 6)):
        with torch.no_grad():
            expected = found.model()(each)[1].numpy()
        np.testing.assert_allclose(run(graph.model, each)["output.1"], expected, atol=1e-5, rtol=1e-5)
    follows = nn.Sequential(nn.Linear(6, 6), function, nn.Linear(6, 2))
    found = quantized(follows, x)
    assert_same(found, onnx_graph(found, x), torch.randn(3, 4, 6))


def test_functions_of_values_on_grids_are_not_computed_by_kernels_of_integers() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return self.two(torch.sigmoid(x)) + self.three(x * x.flip(1)) + self.three(x)

    found = quantized(Network(), torch.randn(2, 4))
    graph = onnx_graph(found, torch.randn(2, 4))
    kinds = {node.op_type for node in optimized_graph(graph.model).graph.node}
    assert {"Sigmoid", "Mul"} <= kinds and not {"QLinearSigmoid", "QLinearMul"} & kinds
    assert_same(found, graph, torch.randn(50, 4))


def test_layers_that_stay_in_float() -> None:
    config = PtqConfig(LayerConfig(), layers={"2": {"float_reason": "asked for"}}, bias_correction=False)
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 5, 2), nn.Tanh(), nn.Conv1d(5, 2, 1))
    x = torch.randn(2, 3, 9)
    found = quantized(network, x, config)
    assert list(found.float_layers) == ["2"]
    graph = onnx_graph(found, x)
    assert_same(found, graph, torch.randn(2, 3, 12))
    floats = [node for node in optimized_graph(graph.model).graph.node if node.op_type in ("Conv", "FusedConv")]
    assert len(floats) == 1


class Enhancer(nn.Module):
    """A network as a user writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(20, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv1d(16, 16, 3, padding=2, dilation=2), nn.PReLU())
        self.last = nn.Linear(16, 20)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x.transpose(1, 2))
        return x * torch.sigmoid(self.last((hidden + self.middle(hidden)).transpose(1, 2)))


def test_a_network_of_any_batch_and_any_time(tmp_path: Path) -> None:
    x = torch.randn(2, 15, 20)
    found = quantized(Enhancer(), x)
    file = write_onnx(found, tmp_path / "network.onnx", x)
    assert file.inputs == {"x": ("batch", "x.1", 20)} and file.outputs == {"output": ("batch", "output.1", 20)}
    model = onnx.load(file.path)
    onnx.checker.check_model(model)
    graph = onnx_graph(found, x)
    for batch, length in ((1, 1), (1, 40), (3, 7), (2, 200)):
        longer = torch.randn(batch, length, 20)
        assert run(model, longer)["output"].shape == longer.shape
        assert_same(found, graph, longer)
    fixed = write_onnx(found, tmp_path / "fixed.onnx", x, dynamic_axes=False)
    assert fixed.inputs == {"x": (2, 15, 20)}
    np.testing.assert_allclose(run(onnx.load(fixed.path), x)["output"], run(model, x)["output"], atol=1e-5)


def test_where_time_cannot_be_free_the_batch_is() -> None:
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(8, 2))
    found = quantized(network, torch.randn(2, 3, 9))
    graph = onnx_graph(found, torch.randn(2, 3, 9))
    assert graph.inputs == {"input": ("batch", 3, 9)}
    assert_same(found, graph, torch.randn(5, 3, 9))


def test_several_inputs_and_sizes_in_the_code() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Conv1d(4, 4, 3, stride=2), nn.Linear(6, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            # Made long enough for whole strides.
            x = functional.pad(x, (0, (1 - x.shape[-1]) % 2))
            hidden = self.layer(x)
            length = hidden.shape[-1]
            beside = y.unsqueeze(-1).expand(-1, -1, length)
            return self.last(torch.cat([hidden, beside], 1).transpose(1, 2)).reshape(x.size(0), length * 3)

    torch.manual_seed(0)
    network = Network()
    data = TensorData((torch.randn(2, 4, 9), torch.randn(2, 2)) for _ in range(3))
    found = quantize(network, CONFIGS["matrix"], data)
    graph = onnx_graph(found, (torch.randn(2, 4, 9), torch.randn(2, 2)))
    assert graph.inputs == {"x": ("batch", 4, "x.2"), "y": ("batch", 2)}
    for batch, length in ((2, 9), (3, 12), (1, 31)):
        assert_same(found, graph, torch.randn(batch, 4, length), torch.randn(batch, 2))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.cell = nn.Linear(4, 4), nn.RNN(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(self.layer(x))[0]


class ByValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 1e9 else self.layer(x.relu())


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Recurrent(), "the node cell is of the operation RNN, which has no ONNX form"),
        (nn.Sequential(nn.Linear(4, 4), ByValue()), "the node 1 is of the operation ByValue, which has no ONNX form"),
        (
            nn.Sequential(nn.Linear(4, 4), Function(lambda x: x.cumsum(1))),
            "the node 1.cumsum is of the operation cumsum, which has no ONNX form",
        ),
    ],
)
def test_what_has_no_form_is_named(network: nn.Module, said: str, tmp_path: Path) -> None:
    found = quantized(network, torch.randn(2, 5, 4))
    with pytest.raises(ModelError, match=said):
        write_onnx(found, tmp_path / "network.onnx", torch.randn(2, 5, 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", LAYERS)
def test_dynamic_ranges_are_those_of_each_sequence(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    network = nn.Sequential(make(), nn.ReLU())
    found = quantized(network, torch.randn(shape), PtqConfig(LayerConfig(bits=5, act_bits=7, ranges="dynamic")))
    graph = onnx_graph(found, torch.randn(shape))
    assert_integer_products(graph)
    sizes = torch.tensor([1.0, 100.0, 0.0]).view(-1, *[1] * (len(shape) - 1))
    longer = shape[1:] if name.startswith("linear") else (shape[1], *(size + 2 for size in shape[2:]))
    x = torch.randn(3, *longer) * sizes - sizes / 3
    with torch.no_grad():
        np.testing.assert_array_equal(run(graph.model, x)["output"], found.model()(x).numpy())


def test_dynamic_ranges_of_wide_integers_are_refused() -> None:
    config = PtqConfig(LayerConfig(act_bits=12, ranges="dynamic"))
    found = quantized(nn.Linear(4, 3), torch.randn(2, 4), config)
    with pytest.raises(ModelError, match="the layer Linear has dynamic ranges and integers wider than 8 bits"):
        onnx_graph(found, torch.randn(2, 4))


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_random_networks(first: int) -> None:
    compared = tried = 0
    for each in random_networks(50, first):
        found = quantize(each.network, CONFIGS["rows" if each.seed % 2 else "matrix"], TensorData(each.inputs(2)))
        try:
            graph = onnx_graph(found, each.example, dynamic_axes=each.seed % 3 > 0)
        except ModelError as error:
            assert "Untraceable, which has no ONNX form" in str(error)
            continue
        tried += 1
        assert_integer_products(graph)
        compared += assert_same(found, graph, each.inputs(1)[0])
        if graph.inputs["x"][0] == "batch":
            assert_same(found, graph, each.inputs(1, batch=3)[0])
    assert tried > 40 and compared > 5000
