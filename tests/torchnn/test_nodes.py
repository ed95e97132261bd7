"""The neutral graph of torch networks: what is a sum, what is read as it is, which columns are met one by one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.quant.graph import Destination, QuantGraph, Read, products
from kaldi_quant.torchnn.host import TorchHost
from tests.torchnn.prepared import assert_unchanged, ops, prepared, reads


class Network(nn.Module):
    """Three layers, and a function that says how they are put together."""

    def __init__(self, compute: Callable) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other, self.last = nn.Conv1d(3, 4, 1), nn.Conv1d(3, 4, 1), nn.LazyConv1d(2, 1)
        self.constant = nn.Parameter(torch.randn(4, 8))
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.compute(self, x))


def host_of(compute: Callable) -> TorchHost:
    network, x = Network(compute).eval(), torch.randn(2, 3, 8)
    with torch.no_grad():
        network(x)
    host = prepared(network, x)
    assert_unchanged(host, network, x)
    return host


def graph_of(host: TorchHost) -> QuantGraph:
    return QuantGraph(host.nodes, products(host.nodes))


@pytest.mark.parametrize(
    ("add", "coefficients"),
    [
        (lambda a, b: a + b, (1, 1)),
        (lambda a, b: a - b, (1, -1)),
        (lambda a, b: torch.add(a, b, alpha=0.5), (1, 0.5)),
        (lambda a, b: torch.sub(a, b, alpha=2), (1, -2)),
        (lambda a, b: a.add(other=b), (1, 1)),
        (lambda a, b: 0.25 * a + b * 3, (0.25, 3)),
        (lambda a, b: -a / 4 + 2 * (b * 0.5), (-0.25, 1)),
        (lambda a, b: sum([a, b]), (1, 1)),
    ],
)
def test_sums_and_their_coefficients(add: Callable, coefficients: tuple[float, float]) -> None:
    host = host_of(lambda net, x: add(net.one(x), net.other(x)))
    assert host.nodes["add"].op == "add" and not host.float_operations()
    expected = tuple(Read(name, factor) for name, factor in zip(("one", "other"), coefficients, strict=True))
    assert host.nodes["add"].reads == expected
    graph = graph_of(host)
    assert graph.sums["add"] == expected
    assert graph.destination("one") == Destination("one", relu=False)


@pytest.mark.parametrize(
    "add",
    [
        lambda net, a, b: a + b.mean(-1, keepdim=True),
        lambda net, a, b: a + 1.5,
        lambda net, a, b: a + net.constant,
        lambda net, a, b: torch.cat([a, b], 1) + torch.cat([b, a], 1),
        lambda net, a, b: a + torch.mul(b, a),
        lambda net, a, b: torch.add(a.long(), b.long()).to(a.dtype),
    ],
)
def test_what_is_no_sum_of_nodes_is_computed_in_float(add: Callable) -> None:
    host = host_of(lambda net, x: add(net, net.one(x), net.other(x)))
    added = [name for name in host.nodes if name.startswith("add")]
    assert added and not any(name in graph_of(host).sums for name in added if host.nodes[name].op == "other")
    if "mul" not in host.nodes:
        assert host.nodes[added[0]].op == "other" and added[0] in host.float_operations()


def test_multiples_that_others_read_are_computed_for_them() -> None:
    def compute(net: Network, x: Tensor) -> Tensor:
        half = 0.5 * net.one(x)
        return torch.cat([half + net.other(x), half], dim=1)

    host = host_of(compute)
    assert host.nodes["add"].reads == (Read("one", 0.5), Read("other"))
    assert ops(host)["mul"] == "other" and reads(host.nodes["last"]) == ["add", "mul"]


def test_a_relu_of_several_values_is_fused_with_none() -> None:
    host = host_of(lambda net, x: functional.relu(torch.cat([net.one(x), torch.tanh(x)], dim=1)))
    assert host.nodes["relu"].reads == (Read("one", whole=False), Read("tanh", whole=False))
    assert graph_of(host).destination("one") is None
    assert not is_whole(host_of(lambda net, x: functional.relu(net.one(x)[:, 1:])))
    for move in (
        lambda y: y.transpose(1, 2).flatten(1).view(2, 8, 4).mT,
        lambda y: y.permute(2, 0, 1).contiguous().movedim(0, -1),
        lambda y: y.unsqueeze(-1).flip(1).clone().squeeze(-1).to(y.dtype),
    ):
        assert is_whole(host_of(lambda net, x, move=move: functional.relu(move(net.one(x)))))


def is_whole(host: TorchHost) -> bool:
    return host.nodes["relu"].reads[0].whole


def test_moves_are_part_of_how_a_node_is_read() -> None:
    def compute(net: Network, x: Tensor) -> Tensor:
        a, b = net.one(x).chunk(2, dim=1)
        c, _ = torch.split(net.other(x), [1, 3], dim=1)
        y = torch.cat([functional.pad(b, (1, 1)), a.repeat(1, 1, 2)[..., :10]], dim=1)
        z = functional.interpolate(c, scale_factor=2.0)[..., 3:13]
        return functional.max_pool1d(torch.stack([y[:, :2], z.expand(-1, 2, -1)], dim=1).flatten(1, 2), 2)

    host = host_of(compute)
    assert set(ops(host).values()) == {"input", "product", "output"}
    assert reads(host.nodes["last"]) == ["one", "other"]
    assert graph_of(host).groups()[-1] == ["one", "other"]
    for no_move in (
        lambda net, x: functional.pad(net.one(x), (0, 2), value=1.0),
        lambda net, x: functional.avg_pool1d(net.one(x), 2),
        lambda net, x: functional.interpolate(net.one(x), size=11, mode="linear"),
        lambda net, x: torch.where(x[:, :1] > 0, net.one(x), 0.0),
    ):
        assert "other" in ops(host_of(no_move)).values()


def by_column(network: nn.Module, *example: Tensor) -> TorchHost:
    host = prepared(network, *example)
    assert_unchanged(host, network, *example)
    return host


def test_columns_of_inputs_that_layers_meet_one_by_one() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(9, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.last(torch.cat([x[..., 1:], torch.tanh(self.first(x)), y], dim=-1))

    host = by_column(Beside(), torch.randn(2, 5, 3), torch.randn(2, 5, 3))
    assert host.nodes["x"].by_column and host.nodes["y"].by_column
    values = {"x": torch.tensor([1.0, 2, 3]), "tanh": torch.tensor(7.0), "y": torch.tensor([4.0, 5, 6])}
    assert host.columns("last", values).tolist() == [2, 3, 7, 7, 7, 7, 4, 5, 6]
    assert host.columns("first", {"x": values["x"]}).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("move", "columns", "met"),
    [
        (lambda x: x.transpose(1, 2), 5, False),
        (lambda x: x.flatten(1), 15, True),
        (lambda x: functional.max_pool1d(x.mT, 2).mT, 3, True),
        (lambda x: x.reshape(x.shape[0], -1, 3), 3, True),
        (lambda x: torch.cat([x, x.flip(-1)], dim=1), 3, False),
        (lambda x: functional.pad(x, (0, 0, 1, 1)), 3, True),
        (lambda x: functional.pad(x, (1, 0)), 4, True),
    ],
)
def test_columns_behind_moves(move: Callable, columns: int, met: bool) -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(columns, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(move(x))

    host = by_column(Moved(), torch.randn(2, 5, 3))
    assert host.nodes["x"].by_column == met
    one = {"x": torch.tensor([1.0, 2, 3]) if met else torch.tensor(5.0)}
    assert len(host.columns("layer", one)) == columns


def test_an_input_of_a_convolution_has_one_scale() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv1d(3, 4, 1), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean() + self.linear(x)

    host = by_column(Both(), torch.randn(2, 3, 5))
    assert not graph_of(host).is_per_column("x")
    assert host.columns("linear", {"x": torch.tensor(2.0)}).tolist() == [2] * 5


def test_no_two_nodes_have_one_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.weight, self.more = (
                nn.Conv1d(3, 4, 1),
                nn.Parameter(torch.randn(4, 4, 1)),
                nn.Conv1d(4, 4, 1),
            )

        def forward(self, layer: Tensor, output: Tensor) -> Tensor:
            layer = functional.conv1d(self.layer(layer) + output, self.weight)
            for weight in (self.weight * 2, self.more.weight / 3, self.more.weight - 1):
                layer = functional.conv1d(layer, weight)
            return self.more(layer)

    host = by_column(Named(), torch.randn(2, 3, 5), torch.randn(2, 4, 5))
    assert [name for name, node in host.nodes.items() if node.op == "input"] == ["layer:2", "output"]
    assert products(host.nodes) == list(host.region.layers) and len(host.region.layers) == 6
    assert all(host.nodes[layer].op == "product" for layer in host.region.layers)
    assert host.nodes["output:2"].op == "output"


def test_names_of_nodes_are_those_of_modules() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv1d(3, 3, 1), nn.PReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x)) + x.relu()

    network = nn.Sequential(nn.ModuleDict({"a": Block()})["a"], Block(), nn.ReLU())
    host = by_column(network, torch.randn(2, 3, 5))
    assert list(host.nodes) == [
        *("input", "0.conv", "0.act", "0.relu", "0.add", "1.conv", "1.act", "1.relu", "1.add", "2", "output")
    ]
    assert host.float_operations() == {"0.act": "PReLU", "1.act": "PReLU"}
