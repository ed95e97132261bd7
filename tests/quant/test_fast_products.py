"""Fast integer products give the sums of the reference, to the last one."""

import logging

import pytest
import torch
from torch import Tensor

from kaldi_quant.quant import fast_products, few_rows
from kaldi_quant.quant.fast_products import FastIntegerLinear, FastWeight, fast
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid, IntegerLinear
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec


def weight(bits: int, rows: int = 5, columns: int = 37, symmetric: bool = True, groups: int = 1) -> QuantizedWeight:
    random, spec = torch.Generator().manual_seed(bits), QSpec(bits, symmetric=symmetric, per_channel=True)
    integers = torch.randint(spec.qmin, spec.qmax + 1, (rows, columns), generator=random, dtype=torch.int32)
    zero = torch.zeros(rows, 1, dtype=torch.int32) if symmetric else integers[:, :1].clone()
    return QuantizedWeight(spec, integers, torch.ones(rows, 1), zero, groups)


def fast_weight(found: QuantizedWeight) -> FastWeight:
    layer = fast(DynamicLinear(found, torch.zeros(len(found.integers)), QSpec(8, signed=False)))
    assert isinstance(layer.weight, FastWeight)
    return layer.weight


def integers(low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(high)).double()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 255), (-255, 0), (-128, 127), (-3, 200), (7, 7), (-255, 255), (-9, 60000)]
)
def test_sums(bits: int, symmetric: bool, low: int, high: int) -> None:
    found = weight(bits, symmetric=symmetric)
    quick = fast_weight(found)
    for shape in ((70, 37), (2, 40, 37), (37,), (0, 37), (3, 0, 37), (1, 37)):
        x = integers(low, high, *shape)
        assert torch.equal(quick.sums(x), found.sums(x)) and quick.sums(x).shape == found.sums(x).shape


def test_groups_and_values_that_are_none() -> None:
    found = weight(4, rows=6, columns=4, groups=2)
    x = integers(0, 255, 9, 8)
    assert torch.equal(fast_weight(found).sums(x), found.sums(x))
    found, x = weight(4), integers(0, 255, 9, 37)
    x[3, 5] = torch.nan
    assert torch.equal(fast_weight(found).sums(x).isnan(), found.sums(x).isnan())


@pytest.mark.parametrize("per_column", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_layers(per_column: bool, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(bits)
    # Columns of two nodes: of one all values are positive.
    zero_point = torch.tensor([-128] * 20 + [3] * 17, dtype=torch.int32)
    scale = torch.rand(37, generator=random) + 0.1 if per_column else torch.full((37,), 0.3)
    inputs = InputGrid(scale, zero_point, -128, 127, per_column)
    layer = IntegerLinear.build(weight(bits), torch.randn(5, generator=random, dtype=torch.float64), inputs)
    quick = fast(layer)
    assert isinstance(quick, FastIntegerLinear)
    output = Grid(QSpec(8), torch.tensor(0.7), torch.tensor(5, dtype=torch.int32))
    products = []
    right = FastWeight.products
    monkeypatch.setattr(FastWeight, "products", lambda self, rows: (products.append(len(rows)), right(self, rows))[1])
    monkeypatch.setattr(few_rows, "_VALUES_AT_ONCE", 300)
    for shape in ((70, 37), (2, 40, 37), (37,), (1, 37), (0, 37)):
        steps = torch.randint(-128, 128, shape, generator=random, dtype=torch.int32) - zero_point
        x = steps.float() * scale
        assert torch.equal(quick.forward(x), layer.forward(x))
        assert torch.equal(quick.steps(x, output), layer.steps(x, output))
    assert products == [70, 70, 80, 80, 1, 1, 1, 1]
    x = torch.full((3, 37), torch.nan)
    assert quick.forward(x).isnan().all()


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    found, x = weight(4), integers(0, 255, 50, 37)
    right = torch._int_mm
    # As of processors whose 16-bit sums of pairs saturate.
    monkeypatch.setattr(fast_products.torch, "_int_mm", lambda a, b: right(a, b).clamp(-32768, 32767))
    wrong = fast_weight(weight(8))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(wrong.sums(x), weight(8).sums(x))
    assert "8-bit products of this machine's PyTorch are not exact" in caplog.text
    assert torch.equal(wrong.sums(x + 1), weight(8).sums(x + 1)) and torch.equal(
        fast_weight(found).sums(x), found.sums(x)
    )


def test_eight_bits_are_multiplied_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    right = torch._int_mm
    monkeypatch.setattr(fast_products.torch, "_int_mm", lambda a, b: (calls.append(a.dtype), right(a, b))[1])
    quick = fast_weight(weight(4))
    for _ in range(3):
        quick.sums(integers(-20, 230, 50, 37))
    assert calls == [torch.int8] * 3
