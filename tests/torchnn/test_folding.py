"""BatchNorm becomes part of layers where that is exact, and only there."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.torchnn.host import TorchHost
from tests.torchnn.prepared import assert_unchanged, disturbed, prepared


def host_of(network: nn.Module, *shape: int) -> TorchHost:
    """The host, which computes what the network does, at other sizes too."""
    network, x = disturbed(network), torch.randn(2, *shape)
    host = prepared(network, x)
    assert_unchanged(host, network, x)
    assert_unchanged(host, network, torch.randn(3, *shape))
    unfolded = prepared(network, x, fold=False)
    assert_unchanged(unfolded, network, x)
    assert not unfolded.offsets
    assert "batch_norm" in unfolded.float_operations().values()
    return host


def is_folded(host: TorchHost) -> bool:
    return "batch_norm" not in host.float_operations().values()


BEHIND_A_LAYER = {
    "conv": (nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4)), (3, 8)),
    "without bias": (nn.Sequential(nn.Conv1d(3, 4, 3, bias=False), nn.BatchNorm1d(4)), (3, 8)),
    "groups": (nn.Sequential(nn.Conv1d(4, 8, 3, groups=2), nn.BatchNorm1d(8), nn.Tanh()), (4, 8)),
    "plane": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (3, 5, 6)),
    "transposed": (nn.Sequential(nn.ConvTranspose1d(4, 6, 4, stride=3, groups=2), nn.BatchNorm1d(6)), (4, 5)),
    "transposed plane": (nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2), nn.BatchNorm2d(3)), (2, 3, 4)),
    "linear": (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), (5,)),
    "pooled": (nn.Sequential(nn.Conv1d(3, 4, 3), nn.MaxPool1d(2), nn.BatchNorm1d(4)), (3, 8)),
    "moved": (nn.Sequential(nn.Conv1d(3, 4, 3), nn.Dropout(), nn.Unflatten(2, (2, 3)), nn.BatchNorm2d(4)), (3, 8)),
    "relu before a tanh": (nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(True), nn.BatchNorm1d(4), nn.Tanh()), (3, 8)),
}


@pytest.mark.parametrize("name", BEHIND_A_LAYER)
def test_behind_a_layer(name: str) -> None:
    network, shape = BEHIND_A_LAYER[name]
    host = host_of(network, *shape)
    assert is_folded(host) and not host.offsets


def test_behind_a_layer_and_a_transpose() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(self.norm(self.layer(x).transpose(1, 2)).transpose(1, 2))

    host = host_of(Network(), 6, 3)
    assert [node.op for node in host.nodes.values()] == ["input", "product", "relu", "output"]

    class OverTime(Network):
        def forward(self, x: Tensor) -> Tensor:
            # Its channels are not the layer's.
            return self.norm(self.layer(x))

    assert not is_folded(host_of(OverTime(), 4, 3))


def through_relu(after: nn.Module, weight: float | None = None) -> nn.Module:
    network = disturbed(nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm1d(4), after))
    if weight is not None:
        with torch.no_grad():
            network[2].weight[1] = weight
    return network


def test_an_offset_behind_a_relu_becomes_part_of_the_bias_that_the_next_weights_need() -> None:
    network, x = through_relu(nn.Conv1d(4, 2, 3)), torch.randn(2, 3, 8)
    host = prepared(network, x)
    assert_unchanged(host, network, x)
    assert is_folded(host) and list(host.offsets) == ["3"]
    # Whatever the weights are, the bias is for an input that lacks the offset.
    other = torch.randn(host.weight("3").shape)
    norm = network[2]
    offset = (norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    expected = network[3].bias.double() + other.double() @ offset.repeat_interleave(3).double()
    torch.testing.assert_close(host.bias("3", other), expected)
    # Nothing is missing in a network that is complete.
    whole = host.complete()
    torch.testing.assert_close(whole.bias("3", other), host.bias("3", host.weight("3")))
    assert_unchanged(whole.complete(), network, x)


def test_layers_that_put_zeros_around_their_input_do_not_take_an_offset() -> None:
    x = torch.randn(2, 3, 8)
    for after in (
        nn.Conv1d(4, 2, 3, padding=1),
        nn.ConvTranspose1d(4, 2, 3),
        nn.Sequential(nn.ConstantPad1d(1, 0.0), nn.Conv1d(4, 2, 3)),
    ):
        network = through_relu(after)
        host = prepared(network, x)
        assert_unchanged(host, network, x)
        assert host.float_operations() == {"2": "the offset of a BatchNorm"} and not host.offsets
    for after in (
        nn.Conv1d(4, 2, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose1d(4, 2, 2, stride=2),
        nn.Conv1d(4, 8, 2, groups=4),
        nn.Sequential(nn.MaxPool1d(2), nn.Flatten(), nn.Linear(16, 3)),
    ):
        network = through_relu(after)
        host = prepared(network, x)
        assert_unchanged(host, network, x)
        assert not host.float_operations() and len(host.offsets) == 1


def test_a_scale_that_is_not_positive_does_not_go_through_a_relu() -> None:
    x = torch.randn(2, 3, 8)
    for weight in (-1.0, 0.0):
        network = through_relu(nn.Conv1d(4, 2, 3), weight)
        host = prepared(network, x)
        assert_unchanged(host, network, x)
        # It folds forwards instead.
        assert is_folded(host)
        torch.testing.assert_close(host.weight("0"), network[0].weight.detach().flatten(1))
        network = through_relu(nn.Conv1d(4, 2, 3, padding=1), weight)
        host = prepared(network, x)
        assert_unchanged(host, network, x)
        assert not is_folded(host)
        pooled = nn.Sequential(nn.Conv1d(3, 4, 3), nn.MaxPool1d(2), nn.BatchNorm1d(4), nn.Tanh())
        disturbed(pooled)
        with torch.no_grad():
            pooled[2].weight[0] = weight
        host = prepared(pooled, x)
        assert_unchanged(host, pooled, x)
        assert not is_folded(host)


def test_before_a_layer() -> None:
    for network, shape in (
        (nn.Sequential(nn.BatchNorm1d(3), nn.Conv1d(3, 4, 3)), (3, 8)),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Conv1d(4, 8, 3, groups=2)), (4, 8)),
        (nn.Sequential(nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 3)), (4,)),
        (nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(24, 3)), (2, 3, 4)),
        (nn.Sequential(nn.BatchNorm1d(3), nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular")), (3, 8)),
    ):
        host = host_of(network, *shape)
        assert is_folded(host) and len(host.offsets) == 1
    assert not is_folded(host_of(nn.Sequential(nn.BatchNorm1d(3), nn.Conv1d(3, 4, 3, padding=1)), 3, 8))
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Conv1d(3, 4, 3, padding=1))
    disturbed(network)
    with torch.no_grad():
        network[0].running_mean.zero_()
        network[0].bias.zero_()
    host = prepared(network, torch.randn(2, 3, 8))
    assert_unchanged(host, network, torch.randn(2, 3, 8))
    # Zeros may be multiplied.
    assert is_folded(host)


def test_what_others_read_too_is_not_scaled() -> None:
    class Network(nn.Module):
        def __init__(self, also: bool) -> None:
            super().__init__()
            self.layer, self.norm, self.also = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), also

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            z = torch.tanh(self.norm(y))
            return z + y if self.also else z[..., : y.shape[-1]]

    assert not is_folded(host_of(Network(True), 3, 8))
    # One that asks for sizes alone does not count.
    assert is_folded(host_of(Network(False), 3, 8))
    shared = nn.Conv1d(3, 3, 3, padding=1)
    twice = nn.Sequential(shared, nn.BatchNorm1d(3), shared)
    assert not is_folded(host_of(twice, 3, 8))


def test_two_norms_side_by_side() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv1d(3, 2, 1), nn.Conv1d(3, 4, 1)
            self.norms, self.last = nn.ModuleList([nn.BatchNorm1d(2), nn.BatchNorm1d(4)]), nn.Conv1d(9, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            one, other = (norm(layer(x).relu()) for norm, layer in zip(self.norms, (self.one, self.other), strict=True))
            return self.last(torch.cat([one, x, other], dim=1))

    host = host_of(Network(), 3, 8)
    assert is_folded(host) and list(host.offsets) == ["last"]
    # Nothing is missing from what the input gives.
    missing = host.offsets["last"].view(9, 3)
    assert not missing[2:5].any() and missing[:2].all() and missing[5:].all()


def test_norms_without_what_they_have_learned_stay() -> None:
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4, track_running_stats=False))
    host = prepared(network, torch.randn(2, 3, 8))
    assert_unchanged(host, network, torch.randn(2, 3, 8))
    assert not is_folded(host)
    plain = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4, affine=False, eps=0.5))
    plain[1].running_var.uniform_(1e-3, 1)
    host = prepared(plain, torch.randn(2, 3, 8))
    assert_unchanged(host, plain, torch.randn(2, 3, 8))
    assert is_folded(host)


def test_short_examples_do_not_hide_where_channels_are() -> None:
    class Scrambled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm, self.last = nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            # With one frame this is a transpose, with more it is not.
            return self.last(self.norm(y.reshape(y.shape[0], -1, 4).transpose(1, 2)))

    network = disturbed(Scrambled())
    host = prepared(network, torch.randn(2, 3, 1))
    assert_unchanged(host, network, torch.randn(2, 3, 1))
    assert_unchanged(host, network, torch.randn(2, 3, 5))

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm, self.last = nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.Conv1d(4, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(torch.relu(self.layer(x)))
            # For the example this pads nothing.
            return self.last(functional.pad(y, (0, x.shape[-1] - 6)))

    class PaddedBefore(Padded):
        def forward(self, x: Tensor) -> Tensor:
            y = functional.pad(self.layer(x), (0, x.shape[-1] - 6))
            return torch.tanh(self.last(torch.tanh(self.norm(y))))

    network = disturbed(PaddedBefore())
    host = prepared(network, torch.randn(2, 3, 6))
    assert_unchanged(host, network, torch.randn(2, 3, 6))
    assert_unchanged(host, network, torch.randn(2, 3, 9))
    network = disturbed(Padded())
    host = prepared(network, torch.randn(2, 3, 6))
    assert_unchanged(host, network, torch.randn(2, 3, 6))
    assert_unchanged(host, network, torch.randn(2, 3, 9))


def test_channels_in_another_order() -> None:
    class Shuffled(nn.Module):
        def __init__(self, order: list[int]) -> None:
            super().__init__()
            self.layer, self.norm, self.order = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), order

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.norm(self.layer(x)[:, self.order]))

    assert is_folded(host_of(Shuffled([2, 0, 3, 1]), 3, 8))
    # One that comes twice, and one that does not come at all.
    assert not is_folded(host_of(Shuffled([2, 0, 0, 1]), 3, 8))


def test_zeros_between_a_layer_and_its_norm() -> None:
    assert not is_folded(host_of(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ZeroPad1d(1), nn.BatchNorm1d(4)), 3, 8))
    reflected = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReflectionPad1d(1), nn.BatchNorm1d(4))
    assert is_folded(host_of(reflected, 3, 8))


def test_maxima_between_a_norm_and_the_layer_behind_it() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.MaxPool1d(2), nn.Conv1d(3, 4, 3))
    assert is_folded(host_of(network, 3, 8))
    with torch.no_grad():
        network[0].weight[1] = -1.0
    host = prepared(network, torch.randn(2, 3, 8))
    assert_unchanged(host, network, torch.randn(2, 3, 8))
    assert not is_folded(host)

    class OverChannels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.last = nn.BatchNorm1d(4), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(functional.max_pool1d(self.norm(x).transpose(1, 2), 2))

    assert not is_folded(host_of(OverChannels(), 4, 8))
