"""What lies between layers, in onnxruntime: moves of integers, and torch's own floats."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.torchnn.onnx.file import onnx_graph
from tests.torchnn.onnx_cases import Function, check, quantized
from tests.torchnn.onnx_runs import assert_same, run

torch.set_num_threads(1)


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


class Beside(nn.Module):
    """What a layer makes of the input, and beside it a function's result: (N, T, 6)."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), self.function(x)


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
    "cumsum": lambda x: x + (torch.ones_like(x[0, 0]).cumsum(0) - 1).sin(),
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
