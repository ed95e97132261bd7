"""What is traced and what is not: decisions, state, operations in place, shared modules, parts of what is not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import DataError, ModelError
from kaldi_quant.quant.graph import matmuls, uses
from kaldi_quant.torchnn.copies import plain_copy
from kaldi_quant.torchnn.host import TorchHost, TorchSource
from tests.torchnn.prepared import assert_unchanged, disturbed, ops, output_of, prepared, reads

torch.manual_seed(0)


class By(nn.Module):
    """A network of two layers and a function that has all to say."""

    def __init__(self, compute: Callable, channels: int = 4) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(channels, 2, 1)
        self.norm = nn.BatchNorm1d(4)
        self.relu = nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.rand(4, 1))
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)


def checked(compute: Callable, channels: int = 4, *others: Tensor) -> TorchHost:
    """The host of such a network, which computes what the original does."""
    network, x = disturbed(By(compute, channels)), torch.randn(2, 3, 8)
    host = prepared(network, x, *others)
    assert_unchanged(host, network, x, *others)
    return host


def test_an_example_of_everything() -> None:
    host = checked(lambda net, x: net.second(net.relu(net.norm(net.first(x)))))
    assert ops(host) == {"x": "input", "first": "product", "relu": "relu", "second": "product", "output": "output"}
    assert host.float_operations() == {}
    assert host.nodes["relu"].reads[0].whole and host.nodes["first"].is_convolution


@pytest.mark.parametrize(
    "relu",
    [
        lambda net, x: functional.relu(x),
        lambda net, x: functional.relu_(x),
        lambda net, x: torch.relu(x),
        lambda net, x: x.relu_(),
        lambda net, x: x.clamp(min=0),
        lambda net, x: x.clamp_min(0),
        lambda net, x: functional.dropout(net.relu(x), 0.5, False),
    ],
)
def test_every_way_to_write_a_relu(relu: Callable) -> None:
    host = checked(lambda net, x: net.second(relu(net, net.first(x))))
    assert [node.op for node in host.nodes.values()] == ["input", "product", "relu", "product", "output"]


def test_a_value_that_is_changed_in_place_is_changed_for_all_that_read_it_later() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        y = net.first(x)
        z = net.relu(y)
        return net.second(z + y)  # both are rectified

    host = checked(compute)
    assert reads(host.nodes["add"]) == ["relu", "relu"]

    def more(net: By, x: Tensor) -> Tensor:
        y = net.first(x)
        y += 1
        y *= net.scale
        y[:, :2].relu()
        return net.second(y)

    checked(more)


def test_views_of_what_is_changed_in_place_are_not_traced_but_right() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        y = net.first(x)
        view = y.transpose(1, 2)
        y.relu_()
        return net.second(view.transpose(1, 2))

    host = checked(compute)
    assert "By, which cannot be traced" in host.float_operations()["By"]
    assert "has changed it in place" in host.float_operations()["By"]

    def halves(net: By, x: Tensor) -> Tensor:
        # Views of the same memory, but of other values.
        a, b = net.first(x).chunk(2, dim=1)
        return net.second(torch.cat([a, b.relu_()], dim=1))

    assert "By" not in checked(halves).nodes


def test_decisions_by_axes_and_by_sizes_that_cannot_vary_are_taken() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        assert x.dim() == 3 and len(x.shape) == 3
        if x.shape[1] != 3:
            raise ValueError("three channels")
        for _ in range(x.size(1)):
            x = x + 1
        n, channels, frames = x.shape
        return net.second(net.first(x.view(n, int(channels), -1)).reshape(n, 4, frames))

    host = checked(compute)
    assert "By" not in host.nodes


def test_how_many_sizes_there_are_asks_for_no_call_of_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.torchnn.tracing.variants", lambda *_: pytest.fail("other sizes were tried"))

    def compute(net: By, x: Tensor) -> Tensor:
        y = net.first(x).transpose(1, 2)
        heads = y.view((*y.shape[:-1], -1, 2)).transpose(1, 2)
        n, *rest = heads.size()
        return net.second(heads.transpose(1, 2).reshape(n, rest[1], -1).transpose(1, 2))

    host = checked(compute)
    assert "By" not in host.nodes


def test_decisions_by_length_are_not_taken_for_the_example() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        rest = x.shape[-1] % 4
        if rest:
            x = functional.pad(x, (0, 4 - rest))
        return net.second(functional.max_pool1d(net.first(x), 4))

    host = checked(compute)
    assert "depends on the sizes" in host.float_operations()["By"]
    network = disturbed(By(compute))
    for length in (8, 9, 11):
        assert_unchanged(prepared(network, torch.randn(2, 3, 8)), network, torch.randn(3, 3, length))
    # Its layers are there all the same.
    assert {"first", "second"} <= set(host.region.layers)


def test_decisions_by_values_are_not_traced() -> None:
    host = checked(lambda net, x: net.second(net.first(x)) if x.sum() > 1e9 else -net.second(net.first(x)))
    assert "depends on the values" in host.float_operations()["By"]
    assert [name for name, node in host.nodes.items() if node.op == "product"] == ["first", "second"]
    assert reads(host.nodes["first"]) == ["first.input"] and reads(host.nodes["first.input"]) == ["x"]
    assert set(reads(host.nodes["By"])) == {"x", "first", "second"}


def test_other_sizes_than_decisions_were_taken_for_are_refused() -> None:
    # No run of the network shows that other sizes are possible, as it takes this one alone.
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.frames = nn.Conv1d(3, 2, 1), 8

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2] > self.frames or x.shape[2] < 8:
                raise ValueError("eight frames")
            return self.layer(x)

    host = prepared(Strict(), torch.randn(2, 3, 8))
    assert "Strict" not in host.nodes
    with pytest.raises(DataError, match="another way for an input of these sizes"):
        output_of(host, torch.randn(2, 3, 9))


def test_what_is_kept_from_call_to_call_is_kept() -> None:
    class Streaming(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before: Tensor | None = None
            self.layer = nn.Conv1d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            before = x.new_zeros(x.shape[0], 3, 2) if self.before is None else self.before
            x = torch.cat([before, x], dim=2)
            self.before = x[..., -2:]
            return self.layer(x)

    network = nn.Sequential(Streaming(), nn.ReLU(), nn.Conv1d(4, 2, 1))
    x = torch.randn(2, 3, 8)
    host = prepared(network, x)
    assert "keeps before from one call to the next" in host.float_operations()["0"]
    assert set(host.region.layers) == {"0.layer", "2"}
    whole, parts = host.complete().executable(), host.complete().executable()
    y = torch.randn(2, 3, 12).double()
    torch.testing.assert_close(torch.cat([parts(y[..., :5]), parts(y[..., 5:])], -1), whole(y))
    assert network[0].before is None
    whole, parts = (prepared(network[0], x).complete().executable() for _ in range(2))
    torch.testing.assert_close(torch.cat([parts(y[..., :5]), parts(y[..., 5:])], -1), whole(y))
    # It begins as the original does.
    assert_unchanged(prepared(network[0], x), network[0], y)


@pytest.mark.parametrize("kind", ["list", "dict", "buffer", "buffer in place", "part of a buffer"])
def test_nothing_that_is_kept_is_lost(kind: str) -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self._seen: dict[str, Tensor] = {}
            self.past: list[Tensor] = []
            self.register_buffer("total", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            y, mean = self.layer(x), x.mean((0, 1))
            match kind:
                case "list":
                    self.past = [*self.past, mean]
                    y = y + sum(self.past)
                case "dict":
                    self._seen["total"] = self._seen.get("total", 0) + mean
                    y = y + self._seen["total"]
                case "buffer":
                    self.total = self.total + mean
                    y = y + self.total
                case "buffer in place":
                    self.total.add_(mean)
                    y = y + self.total
                case "part of a buffer":
                    self.total[:2].mul_(0.5).add_(mean[1:])
                    y = y + self.total
            return y

    network, x = Keeping(), torch.randn(2, 5, 3)
    host = prepared(network, x)
    assert "Keeping" in host.nodes
    original, model = plain_copy(network).double(), host.complete().executable()
    with torch.no_grad():
        for _ in range(3):
            y = torch.randn(2, 5, 3).double()
            torch.testing.assert_close(model(y), original(y))


def test_code_around_parts_may_look_at_their_weights() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.part(x.to(self.part.weight.dtype))
            return y[..., : self.part.out_features - 1] if x.sum() < 1e9 else y

    network, x = Around(), torch.randn(2, 5, 3)
    host = prepared(network, x)
    assert_unchanged(host, network, x)
    assert list(host.region.layers) == ["part"]


def test_modules_within_what_cannot_be_traced_are_traced() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            usual = nn.Sequential(nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3), nn.ReLU())
            self.parts = nn.ModuleList([usual, nn.Conv1d(3, 3, 1)])
            self.unused = nn.Conv1d(3, 3, 1)

        def forward(self, x: Tensor, times: int = 1) -> Tensor:
            while times and x.abs().max() > 0:
                for part in self.parts:
                    x = part(x)
                times -= 1
            return x + 0 * self.parts[1].kernel_size[0]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.block, self.last = nn.Conv1d(3, 3, 1), Block(), nn.Conv1d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.block(self.first(x), times=2))

    network, x = disturbed(Network()), torch.randn(2, 3, 8)
    host = prepared(network, x)
    assert_unchanged(host, network, x)
    assert list(host.region.layers) and set(host.region.layers) == {"first", "last", "block.parts.0.0", "block.parts.1"}
    assert host.nodes["block.parts.0.2"].op == "relu"
    assert reads(host.nodes["block.parts.0.0"]) == ["block.parts.0.input"]
    assert set(reads(host.nodes["block"])) == {"first", "block.parts.0.2", "block.parts.1"}
    # What is not called is no layer.
    assert "block.unused" not in host.nodes


def test_modules_that_are_called_in_several_ways_are_not_traced() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(3, 3, 1)

        def forward(self, x: Tensor, back: bool = False) -> Tensor:
            return -self.layer(x.flip(-1)) if back else self.layer(x)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Part()

        def forward(self, x: Tensor) -> Tensor:
            return self.part(x) + self.part(x, back=True) if x.sum() < 1e9 else x

    network, x = Both(), torch.randn(2, 3, 5)
    host = prepared(network, x)
    assert_unchanged(host, network, x)
    # The layer within is called in one way.
    assert set(host.region.layers) == {"part.layer"}


def test_a_layer_of_a_part_that_is_traced_and_of_one_that_is_not_stays_in_float_in_the_latter() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.own = nn.Conv1d(3, 3, 1), nn.Conv1d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.own(self.shared(x)) if x.sum() < 1e9 else x

    class Network(nn.Module):
        def __init__(self, called: bool) -> None:
            super().__init__()
            self.odd, self.called = Odd(), called

        def forward(self, x: Tensor) -> Tensor:
            shared = self.odd.shared
            return self.odd(shared(x) if self.called else functional.conv1d(x, shared.weight, shared.bias))

    for called in (False, True):
        network, x = Network(called), torch.randn(2, 3, 5)
        host = prepared(network, x)
        assert_unchanged(host, network, x)
        assert set(host.region.layers) == {"odd.shared", "odd.own"}
        assert len(uses(host.nodes, "odd.shared")) == 1


def test_modules_that_are_used_twice_are_one_layer() -> None:
    for shared, last in ((nn.Conv1d(8, 8, 3, padding=1), nn.Conv1d(8, 2, 1)), (nn.Linear(8, 8), nn.Linear(8, 2))):
        network, x = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), last), torch.randn(2, 8, 8)
        host = prepared(network, x)
        assert_unchanged(host, network, x)
        assert [node.name for node in uses(host.nodes, "0")] == ["0", "0:2"]
        assert list(host.region.layers) == ["0", "4"]
    # What the second use reads can have no scale for each column, so the first use's cannot, either.
    assert not host.nodes["input"].by_column
    assert prepared(nn.Linear(8, 8), x).nodes["input"].by_column


def test_a_weight_that_is_used_in_two_ways_is_in_float() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        y = functional.conv1d(x, net.first.weight, stride=2)
        return net.second(net.first(x)[..., : y.shape[-1]] + y)

    host = checked(compute)
    assert list(host.region.layers) == ["second"]
    assert [what for what in host.float_operations().values() if "used in two ways" in what]


def test_functions_with_weights_of_the_network_are_layers() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        # Standardized weights are constants in test mode.
        weight = net.first.weight - net.first.weight.mean(dim=(1, 2), keepdim=True)
        y = functional.conv1d(x, weight, net.first.bias, padding=1)
        return functional.linear(y.transpose(1, 2), net.second.weight.squeeze(-1), bias=net.second.bias)

    host = checked(compute)
    assert {node.op for node in host.nodes.values()} == {"input", "product", "output"}
    assert len(host.region.layers) == 2


def test_products_with_a_weight_that_is_computed_are_products_of_two_values() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        y = net.first(x)
        weights = torch.softmax(y[0].T @ y[0], dim=-1)
        return net.second(functional.linear(y, weights))

    host = checked(compute)
    assert set(host.float_operations()) == {"softmax"}
    assert matmuls(host.nodes) == ["matmul", "matmul:2"]


def test_convolutions_with_a_weight_that_is_computed_are_in_float() -> None:
    def compute(net: By, x: Tensor) -> Tensor:
        y = net.first(x)
        return net.second(functional.conv1d(y, y[:1].softmax(-1)[..., :1].expand(y.shape[1], -1, -1)))

    assert checked(compute).float_operations()["conv1d"] == "conv1d: its weight is computed from the input"


def test_a_table_of_the_networks_own_is_cut_as_long_as_the_input() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("table", torch.randn(40, 3))
            self.register_buffer("number", torch.tensor(2))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.table[: x.shape[1]]
            return self.layer(x if self.number > 1 else -x)

    network = Positions()
    host = prepared(network, torch.randn(2, 4, 3))
    assert list(host.region.layers) == ["layer"] and "Positions" not in host.nodes
    assert_unchanged(host, network, torch.randn(2, 30, 3))


def test_what_decides_by_parameters_cannot_be_followed() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.share = nn.Linear(3, 3), nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x if self.share > 0 else -x)

    host = prepared(Deciding(), torch.randn(2, 3))
    assert list(host.region.layers) == ["layer"]
    assert "depends on the values of tensors" in host.float_operations()["Deciding"]


def test_masks_in_buffers_may_be_minus_infinity() -> None:
    network = nn.Linear(3, 3)
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    prepared(network, torch.randn(2, 3))
    network.mask[0] = torch.inf
    with pytest.raises(ModelError, match="mask of the network holds values that are not finite"):
        prepared(network, torch.randn(2, 3))


def test_arguments_may_be_many_and_results_too() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.cell = nn.Linear(4, 5), nn.GRU(5, 3, batch_first=True)

        def forward(
            self, x: Tensor, states: tuple[Tensor, Tensor], scale: float = 1.0, mask: Tensor | None = None
        ) -> dict[str, object]:
            y, state = self.cell(self.layer(x), states[0])
            if mask is not None:
                y = y * mask
            return {"y": y * scale, "states": [state, states[1] + 1]}

    network, x = Network(), torch.randn(2, 6, 4)
    states = (torch.randn(1, 2, 3), torch.randn(2))
    source = TorchSource(network, {"x": x, "states": states, "scale": 0.5})
    host = source.prepare(fold=True)
    assert [node.name for node in host.nodes.values() if node.op == "input"] == ["x", "states.0", "states.1"]
    model = host.executable()
    expected = network(x, states, 0.5)
    found = model(x=x, states=states, scale=0.5)
    torch.testing.assert_close(found["y"], expected["y"])
    torch.testing.assert_close(found["states"], expected["states"])
    torch.testing.assert_close(model(x, states, 0.5, mask=None)["y"], found["y"])
    assert host.float_operations()["cell.l0.h"] == "what GRU cells compute of their products"
    for wrong in (
        {"x": x, "states": states, "scale": 1.0},
        {"x": x, "states": states[:1], "scale": 0.5},
        {"x": x[0], "states": states, "scale": 0.5},
        {"x": x.long(), "states": states, "scale": 0.5},
        {"x": x, "states": states, "scale": 0.5, "mask": x},
        {"x": x, "scale": 0.5},
    ):
        with pytest.raises(DataError):
            model(**wrong)


@pytest.mark.parametrize("normed", ["weight_norm", "parametrizations", "spectral", "pruned"])
def test_weights_however_they_are_parametrized(normed: str) -> None:
    torch.manual_seed(0)
    conv, linear = nn.Conv1d(3, 4, 3), nn.Linear(4, 2)
    utils = nn.utils
    for layer in (conv, linear):
        match normed:
            case "weight_norm":
                utils.weight_norm(layer)
            case "parametrizations":
                utils.parametrizations.weight_norm(layer)
            case "spectral":
                utils.parametrizations.spectral_norm(layer)
            case "pruned":
                utils.prune.l1_unstructured(layer, "weight", 0.5)
    network = nn.Sequential(conv, nn.AdaptiveAvgPool1d(1), nn.Flatten(), linear)
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        for _ in range(20):
            network(x)  # what spectral normalization learns, and a weight that a hook has computed
    network.eval()
    names, expected = list(network.state_dict()), network(x)
    host = TorchSource(network, x).prepare(fold=True)
    torch.testing.assert_close(host.complete().executable()(x), expected)
    assert set(host.region.layers) == {"0", "3"}
    # The network is as it was.
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network(x), expected, rtol=0, atol=0)


def test_networks_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ModelError, match="no layer that can be quantized"):
        TorchSource(nn.Sequential(nn.Tanh()), torch.randn(2, 3)).prepare(fold=True)
    with pytest.raises(ModelError, match="cannot be run on its example, of shape"):
        TorchSource(nn.Linear(4, 2), torch.randn(2, 3)).prepare(fold=True)
    network = nn.Linear(4, 2)
    with torch.no_grad():
        network.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="weight of the network holds values that are not finite"):
        TorchSource(network, torch.randn(2, 4)).prepare(fold=True)


def test_one_row_without_a_batch() -> None:
    network, x = (
        nn.Sequential(nn.Conv1d(3, 4, 2), nn.ReLU(), nn.ConvTranspose1d(4, 2, 2), nn.Linear(8, 3)),
        torch.randn(3, 8),
    )
    host = prepared(network, x)
    assert_unchanged(host, network, x)
    host = prepared(nn.Linear(3, 2), torch.randn(3))
    assert output_of(host, torch.randn(3)).shape == (2,)


def test_digests_tell_networks_from_each_other() -> None:
    x = torch.randn(2, 3, 8)

    def digest(network: nn.Module) -> str:
        return TorchSource(network, x).digest()

    torch.manual_seed(0)
    layer = nn.Conv1d(3, 4, 3)
    same = nn.Conv1d(3, 4, 3)
    same.load_state_dict(layer.state_dict())
    assert digest(layer) == digest(same) == digest(layer)
    other = nn.Conv1d(3, 4, 3, padding=1)
    other.load_state_dict(layer.state_dict())
    assert len({digest(layer), digest(other), digest(nn.Conv1d(3, 4, 3)), digest(nn.Sequential(layer, nn.ReLU()))}) == 4
