"""Products of two values in integers: by hand, in float where that is asked for, trained, and in random attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import DataError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import divergence
from kaldi_quant.quant.graph import Destination, matmuls
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.sensitivity import with_layers
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.einsum import MatrixProduct
from kaldi_quant.torchnn.host import TorchSource
from kaldi_quant.torchnn.quantization import calibrate, quantize
from kaldi_quant.train.qat.network import TrainableNetwork
from tests.torchnn import by_hand
from tests.torchnn.attention_networks import Dot, Matrices, random_attention
from tests.torchnn.prepared import assert_unchanged, prepared

torch.set_num_threads(1)

CONFIGS = {
    "rows": PtqConfig(LayerConfig(bits=8)),
    "matrix": PtqConfig(LayerConfig(bits=4, act_bits=6, per_channel=False, symmetric=False)),
    "wide": PtqConfig(LayerConfig(bits=5, act_bits=11, method="minmax"), observer="minmax", bias_correction=False),
}


def quantized(network: nn.Module, config: str | PtqConfig = "rows", length: int = 5) -> QuantizedNetwork:
    torch.manual_seed(1)
    chosen = CONFIGS[config] if isinstance(config, str) else config
    return quantize(network.eval(), chosen, TensorData(torch.randn(2, length, 6) for _ in range(3)))


def values_of(found: QuantizedNetwork, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The output, and the value of every node on a grid."""
    model, seen = found.model(), {}

    def seeing(name: str, tap):
        def see(x: Tensor) -> Tensor:
            seen[name] = tap(x)
            return seen[name]

        return see

    for name in found.activations:
        model.taps[name] = seeing(name, model.taps[name])
    with torch.no_grad():
        return model(*inputs), seen


@pytest.mark.parametrize("config", CONFIGS)
def test_attention_by_hand(config: str) -> None:
    torch.manual_seed(0)
    found = quantized(Dot(), config)
    assert found.matmuls == ["matmul", "matmul:2"] and found.float_matmuls == {}
    assert {"all", "softmax", "matmul:2"} < set(found.activations)
    assert found.activations["softmax"].spec.bits == found.activations["all"].spec.bits == found.act_bits("out")
    assert int(found.activations["softmax"].zero_point) == 0
    assert found.graph.destination("matmul:2") == Destination("matmul:2", relu=False)
    x = torch.randn(2, 5, 6) * 1.5
    output, seen = values_of(found, x)
    grids = {name: found.activations[name] for name in ("all", "softmax", "matmul:2")}
    integers = {name: by_hand.integers_of(seen[name].numpy(), grid) for name, grid in grids.items()}
    q, k, v = integers["all"].reshape(2, 5, 3, 2, 4).transpose(2, 0, 3, 1, 4)
    scale = np.float32(grids["all"].scale.item())
    scores = by_hand.matmul(q, k.swapaxes(-1, -2)).astype(np.float32) * (scale * scale)
    weights = torch.softmax(torch.from_numpy(scores) * 0.5, -1).numpy()
    np.testing.assert_array_equal(integers["softmax"], by_hand.integers_of(weights, grids["softmax"]))
    sums = by_hand.matmul(integers["softmax"], v)
    context = by_hand.product_on_grid(sums, grids["softmax"], grids["all"], grids["matmul:2"])
    np.testing.assert_array_equal(integers["matmul:2"], context)
    layer = found.layers["out"]
    sums = by_hand.linear(layer, context.transpose(0, 2, 1, 3).reshape(2, 5, 8))
    rows = np.broadcast_to(np.arange(4), sums.shape)
    np.testing.assert_array_equal(output.numpy(), by_hand.as_floats(layer, sums, rows))


@pytest.mark.parametrize("config", CONFIGS)
def test_relus_several_values_and_sums_by_hand(config: str) -> None:
    torch.manual_seed(0)
    found = quantized(Matrices(), config)
    grids = found.activations
    assert found.matmuls == ["matmul", "matmul:2"]
    assert found.graph.destination("matmul") == Destination("relu", relu=True)
    # The input and the layer are side by side in one factor; the product is a term of a sum.
    assert grids["x"] is grids["middle"] and not grids["x"].scale.dim()
    assert "matmul:2" in grids and "add" in grids and "matmul" not in grids
    _, seen = values_of(found, torch.randn(2, 5, 6) * 1.5)
    integers = {name: by_hand.integers_of(x.numpy(), grids[name]) for name, x in seen.items()}
    sums = by_hand.matmul(integers["q"], integers["k"])
    scores = by_hand.product_on_grid(sums, grids["q"], grids["k"], grids["relu"]).clip(0)
    np.testing.assert_array_equal(integers["relu"], scores)
    both = np.concatenate([scores, scores[..., ::-1]], 2)
    sums = by_hand.matmul(both, np.concatenate([integers["x"], integers["middle"]], 1))
    expected = by_hand.product_on_grid(sums, grids["relu"], grids["x"], grids["matmul:2"])
    np.testing.assert_array_equal(integers["matmul:2"], expected)


@pytest.mark.parametrize("pattern", ["matmul*", "@matmul"])
def test_products_stay_in_float_where_a_configuration_says_so(pattern: str) -> None:
    torch.manual_seed(0)
    network = Dot()
    found = quantized(network, PtqConfig(layers={pattern: {"float_reason": "asked for"}}))
    assert found.float_matmuls == {"matmul": "asked for", "matmul:2": "asked for"} and found.matmuls == []
    assert set(found.activations) == {"x", "matmul:2"} and found.float_layers == {}
    x = torch.randn(2, 5, 6)
    one = quantized(network, PtqConfig(layers={"matmul": {"float_reason": "asked for"}}))
    assert one.matmuls == ["matmul:2"]
    with torch.no_grad():
        losses = [float((each.model()(x) - network(x)).norm()) for each in (found, one, quantized(network))]
    # The other product reads the same layer, so that the scores' factors are on the same grid.
    assert 0 < losses[0] < losses[1] == losses[2]


def test_products_in_float_compute_what_torch_does() -> None:
    torch.manual_seed(0)
    network, x = Dot(), torch.randn(2, 5, 6)
    found = quantized(network)
    for name in ("matmul", "matmul:2"):
        part = with_layers(found, {name})
        assert part.matmuls == [name] and part.layers == {}
        with torch.no_grad():
            assert 0 < float((part.model()(x) - network(x)).abs().max()) < 0.05
    with torch.no_grad():
        torch.testing.assert_close(with_layers(found, set()).model()(x), network(x), rtol=0, atol=1e-5)


def test_widths_may_differ_between_products_and_layers() -> None:
    torch.manual_seed(0)
    network = Dot()
    found = quantized(network, PtqConfig(layers={"matmul": {"act_bits": 4}, "matmul:2": {"act_bits": 6}}))
    bits = {name: found.activations[name].spec.bits for name in ("all", "softmax", "matmul:2")}
    assert bits == {"all": 6, "softmax": 6, "matmul:2": 8}
    few = quantized(network, PtqConfig(layers={"@matmul": {"act_bits": 3}}))
    data = TensorData(torch.randn(2, 5, 6) for _ in range(3))
    lost, more = divergence(found, data), divergence(few, data)
    assert list(lost.sqnr_db) == ["all", "out", "matmul", "matmul:2"]
    assert more.sqnr_db["matmul"] < lost.sqnr_db["matmul"] and more.distance > lost.distance


def test_inputs_that_are_too_long_are_refused() -> None:
    torch.manual_seed(0)
    config = PtqConfig(LayerConfig(bits=4, act_bits=13, method="minmax"), observer="minmax")
    found = quantized(Dot(), config)
    assert found.float_matmuls == {}
    with torch.no_grad():
        found.model()(torch.randn(1, 32, 6))
        with pytest.raises(DataError, match=r"matmul:2 adds up 33 products of 13-bit and 13-bit .* hold 32"):
            found.model()(torch.randn(1, 33, 6))
    long = quantized(Dot(), config, length=33)
    assert list(long.float_matmuls) == ["matmul:2"] and "adds up 33 products" in long.float_matmuls["matmul:2"]
    with torch.no_grad():
        long.model()(torch.randn(1, 40, 6))


def test_ranges_give_the_same_grids() -> None:
    torch.manual_seed(0)
    network, data = Dot().eval(), [torch.randn(2, 5, 6) for _ in range(3)]
    ranges = calibrate(network, CONFIGS["rows"], TensorData(data))
    assert {"softmax", "all"} < set(ranges)
    first, second = (quantize(network, CONFIGS["rows"], TensorData(data), ranges=each) for each in (None, ranges))
    with torch.no_grad():
        torch.testing.assert_close(first.model()(data[0]), second.model()(data[0]))


MASKS = {
    "floats": torch.tensor([0.0, -1.5, -torch.inf, 2.0, 0.0]),
    "booleans": torch.tensor([True, False, True, True, False]),
}


@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"is_causal": True}, {"dropout_p": 0.0}])
def test_torchs_function_is_written_out(options: dict) -> None:
    network, x = Dot(**options), torch.randn(2, 5, 6)
    masks = [] if "is_causal" in options else [torch.stack([mask.roll(i) for i in range(5)]) for mask in MASKS.values()]
    for given in ((x,), *((x, mask) for mask in masks)):
        host = prepared(network, *given)
        assert matmuls(host.nodes) == ["matmul", "matmul:2"]
        assert_unchanged(host, network, *given)


def test_queries_without_any_key_have_zeros() -> None:
    network, x = Dot(), torch.randn(2, 5, 6)
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[2] = False
    assert_unchanged(prepared(network, x, mask), network, x, mask)


def test_heads_of_keys_may_serve_several_heads_of_queries() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.kv, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (y.unflatten(-1, (-1, 2)).transpose(1, 2) for y in (self.q(x), *self.kv(x).chunk(2, -1)))
            found = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            return self.out(found.transpose(1, 2).flatten(2))

    network, x = Grouped(), torch.randn(2, 5, 6)
    host = prepared(network, x)
    assert matmuls(host.nodes) == ["matmul", "matmul:2"]
    assert_unchanged(host, network, x)


EQUATIONS = ["bhqd,bhkd->bhqk", "bhqk, bhkd -> bhqd", "bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", "ij,jk->ki"]
NO_MATRICES = [
    "ij,jk",
    "ni,nij->nj",
    "i,j->ij",
    "...ij,...jk->...ik",
    "ii,ij->ij",
    "ijk,jkl->il",
    "ij,kl->ik",
    "ijk,jl->il",
    "ij,jk->ikz",
]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_equations_of_matrix_products(equation: str) -> None:
    sizes = dict(zip("bhqdknij", range(2, 10), strict=True))
    found = MatrixProduct.of(equation)
    assert found is not None
    letters = equation.partition("->")[0].replace(" ", "").split(",")
    one, other = (torch.randn([sizes[letter] for letter in each]) for each in letters)
    torch.testing.assert_close(found.compute(one, other), torch.einsum(equation, one, other))


@pytest.mark.parametrize("equation", NO_MATRICES)
def test_equations_of_other_products(equation: str) -> None:
    assert MatrixProduct.of(equation) is None


def test_products_that_other_functions_hide() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.one(x), self.other(x)
            scores = torch.einsum("nti,nsi->nts", one, other)
            scores = torch.baddbmm(scores, one, other.transpose(1, 2), beta=0.5, alpha=2)
            found = torch.einsum("nts,nsi->nti", [scores, other])
            return functional.linear(found, other[0], one[0, 0, :5]) + torch.baddbmm(scores, one, other.mT, beta=0)

    network, x = Network(), torch.randn(2, 5, 6)
    host = prepared(network, x)
    assert matmuls(host.nodes) == ["matmul", "matmul:2", "matmul:3", "matmul:4", "matmul:5"]
    assert_unchanged(host, network, x)


def test_what_is_no_plain_product_stays_in_float_with_the_reason() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.one(x), self.other(x)
            found = torch.einsum("nti,nsj->ntj", one, other)
            return found + functional.scaled_dot_product_attention(one, other, one, dropout_p=0.5)

    reasons = TorchSource(Network(), torch.randn(2, 5, 6)).prepare(fold=True).float_operations()
    assert set(reasons) == {"einsum", "scaled_dot_product_attention"}
    assert all("no plain product of matrices" in reason for reason in reasons.values())


@pytest.mark.parametrize("config", CONFIGS)
def test_fake_quantization_is_the_reference_and_learns_the_grids(config: str) -> None:
    torch.manual_seed(0)
    for network in (Dot(), Matrices()):
        start = quantized(network, config)
        trainable = TrainableNetwork.of(start)
        x = torch.randn(2, 5, 6)
        with torch.no_grad():
            expected, found = start.model()(x), trainable.model(x)
        size = float(expected.abs().max())
        assert float((found - expected).abs().median()) <= 1e-5 * size
        scales = {part.name: part.parameters for part in trainable.scales()}
        factors = {name for each in start.matmuls for factor in start.host.nodes[each].factors for name in factor[:1]}
        trainable.components()
        trainable.model(x).square().mean().backward()
        for name in factors:
            assert scales[f"{name} values"]["ratio"].grad.any(), name
        converted = trainable.converted()
        assert converted.matmuls == start.matmuls
        with torch.no_grad():
            assert float((converted.model()(x) - expected).abs().median()) <= 1e-5 * size


def test_products_in_float_stay_there_in_training() -> None:
    torch.manual_seed(0)
    start = quantized(Dot(), PtqConfig(layers={"matmul": {"float_reason": "asked for"}}))
    assert TrainableNetwork.of(start).converted().float_matmuls == {"matmul": "asked for"}


def test_random_attention() -> None:
    products = 0
    for each in random_attention(12):
        host = prepared(each.network, each.example)
        assert_unchanged(host, each.network, each.example)
        config = CONFIGS[("rows", "matrix", "wide")[each.seed % 3]]
        start = quantize(each.network, config, TensorData(each.inputs(4)))
        assert start.float_matmuls == {}
        products += len(start.matmuls)
        x = each.inputs(2)[1]
        with torch.no_grad():
            expected, fake, exact = start.model()(x), TrainableNetwork.of(start).model(x), each.network(x)
        size = float(expected.abs().max()) or 1.0
        assert float((fake - expected).abs().median()) <= 1e-4 * size, each.seed
        if each.seed % 3 == 0:
            in_float = with_layers(start, set(start.layers))
            assert in_float.matmuls == []
            with torch.no_grad():
                losses = [float((y - exact).norm() / size) for y in (expected, in_float.model()(x))]
            # Products cost little beside layers.
            assert losses[0] <= 1.3 * losses[1] + 0.02, each.seed
    assert products > 20
