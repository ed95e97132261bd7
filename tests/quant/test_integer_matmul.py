"""Products of two values on grids, and which of a network's are in integers."""

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.graph import Destination, Node, QuantGraph, Read, matmuls
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_matmul import IntegerMatmul, longest_inner
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.ptq import float_matmuls, float_reasons
from kaldi_quant.quant.spec import QSpec
from tests.torchnn import by_hand


def grid(bits: int, low: float, high: float) -> Grid:
    spec = QSpec(bits, signed=False, symmetric=low == 0)
    return Grid.from_range(spec, torch.tensor(low), torch.tensor(high))


@pytest.mark.parametrize(("bits", "other_bits"), [(8, 8), (4, 6), (10, 13), (2, 16)])
def test_accumulators_are_exact(bits: int, other_bits: int) -> None:
    torch.manual_seed(bits)
    one, other, output = grid(bits, -3.0, 5.0), grid(other_bits, 0.0, 1.0), grid(8, -2.0, 1.0)
    product = IntegerMatmul("scores", one, other)
    a, b = one.fake(4 * torch.randn(2, 3, 4, 7)), other.fake(torch.rand(3, 7, 5))
    integers = [by_hand.integers_of(x.numpy(), of) for x, of in ((a, one), (b, other))]
    sums = by_hand.matmul(*integers)
    np.testing.assert_array_equal(product.accumulate((a, b)).numpy(), sums)
    scale = np.float32(one.scale.item()) * np.float32(other.scale.item())
    np.testing.assert_array_equal(product.forward((a, b)).numpy(), sums.astype(np.float32) * scale)
    found = output.round_steps(product.steps((a, b), output))
    np.testing.assert_array_equal(
        by_hand.integers_of(found.numpy(), output), by_hand.product_on_grid(sums, one, other, output)
    )


def test_sums_that_could_overflow_are_refused() -> None:
    one = grid(12, -1.0, 1.0)
    longest = longest_inner(one.spec, one.spec)
    assert longest == 128 == (2**31 - 1) // 4095**2
    assert longest_inner(QSpec(8, signed=False), QSpec(8, signed=False)) == 33025
    product = IntegerMatmul("scores", one, one)
    assert product.accumulate((torch.ones(1, 128), torch.ones(128, 1))).item() == 128 * 2047**2
    with pytest.raises(DataError, match=r"scores adds up 129 products of 12-bit .* hold 128: the input is too long"):
        product.accumulate((torch.ones(1, 129), torch.ones(129, 1)))


def nodes() -> dict[str, Node]:
    """An attention of one head, whose keys are two values side by side."""
    found = [
        Node("input", "input", (), 4),
        Node("q", "product", (Read("input"),), 4),
        Node("k", "product", (Read("input"),), 4),
        Node("old", "other", (Read("input"),), 4),
        Node("scores", "matmul", (Read("q"), Read("k"), Read("old")), 9, factors=(("q",), ("k", "old")), inner=4),
        Node("softmax", "other", (Read("scores"),), 9),
        Node("context", "matmul", (Read("softmax"), Read("input")), 4, factors=(("softmax",), ("input",)), inner=9),
        Node("relu", "relu", (Read("context"),), 4),
        Node("out", "product", (Read("relu"),), 2),
        Node("output", "output", (Read("out"),), 2),
    ]
    return {node.name: node for node in found}


def test_factors_lie_on_grids_and_results_go_to_those_of_their_readers() -> None:
    graph = QuantGraph(nodes(), ["q", "k", "out"], matmuls(nodes()))
    assert set(graph.nodes) == {"input", "q", "k", "old", "softmax", "relu"}
    assert {frozenset(group) for group in graph.groups()} == {
        *(frozenset({name}) for name in ("input", "q", "softmax", "relu")),
        frozenset({"k", "old"}),
    }
    assert graph.destination("scores") is None
    assert graph.destination("context") == Destination("relu", relu=True)
    assert graph.destination("q") == Destination("q", relu=False)
    # Its columns meet more than the columns of a weight.
    assert not graph.is_per_column("input")
    in_float = QuantGraph(nodes(), ["q", "k", "out"])
    assert set(in_float.nodes) == {"input", "relu"} and in_float.is_per_column("input")


class OnlyNodes:
    nodes = nodes()

    @staticmethod
    def float_reason(layer: str, static: bool) -> str:
        return ""


def reasons(**config: object) -> dict[str, str]:
    configs = PtqConfig(**config).for_layers(layer_kinds(nodes()))
    assert float_reasons(OnlyNodes(), configs) == {}
    return float_matmuls(OnlyNodes(), configs, ["q", "k", "out"])


def test_products_are_in_integers_unless_a_reason_says_otherwise() -> None:
    assert layer_kinds(nodes())["scores"] == {"matmul"}
    assert reasons() == {}
    assert reasons(layers={"scores": {"float_reason": "it is cheap"}}) == {"scores": "it is cheap"}
    assert list(reasons(layers={"@matmul": {"float_reason": "they are cheap"}})) == ["scores", "context"]
    dynamic = reasons(default=LayerConfig(ranges="dynamic"))
    assert set(dynamic) == {"scores", "context"} and "dynamic" in dynamic["scores"]
    assert reasons(default=LayerConfig(ranges="dynamic"), layers={"@matmul": {"ranges": "static"}}) == {}
    # 4 and 9 products of integers of 14 bits.
    assert reasons(default=LayerConfig(bits=4, act_bits=14)) == {
        "context": "it adds up 9 products of 14-bit and 14-bit integers, and 32-bit accumulators hold 8"
    }
    # The input has 14 bits still, as layers read it, and the softmax 8.
    assert reasons(default=LayerConfig(bits=4, act_bits=14), layers={"@matmul": {"act_bits": 8}}) == {}
    with pytest.raises(UsageError, match=r"'attention' matches no layer; the layers are q .* scores \(@matmul\)"):
        reasons(layers={"attention": {"bits": 4}})
