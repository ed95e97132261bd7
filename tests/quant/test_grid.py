"""Grids: clamped, half to even, zero exact, zero point inside."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kaldi_quant.errors import UsageError
from kaldi_quant.quant import few_rows
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid


@pytest.mark.parametrize("bits", [1, 17, 0, -3])
def test_impossible_widths_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"{bits} bits is not possible: 2 to 16"):
        QSpec(bits)


specs = st.builds(QSpec, st.integers(2, 16), st.booleans(), st.booleans())
ends = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=200, deadline=None)
@given(specs, ends, ends, st.lists(st.floats(-2e4, 2e4, width=32), min_size=1, max_size=20))
def test_every_grid_clamps_and_holds_zero(spec: QSpec, one: float, other: float, values: list[float]) -> None:
    low, high = sorted((one, other))
    grid = Grid.from_range(spec, torch.tensor(low), torch.tensor(high))
    assert spec.qmin <= int(grid.zero_point) <= spec.qmax
    integers = grid.quantize(torch.tensor(values))
    assert int(integers.min()) >= spec.qmin and int(integers.max()) <= spec.qmax
    assert float(grid.fake(torch.tensor(0.0))) == 0.0
    inside = grid.dequantize(integers)
    # What lies on the grid stays where it is.
    assert torch.equal(grid.quantize(inside), integers)


def test_rounding_is_half_to_even() -> None:
    grid = Grid(QSpec(8), torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    assert grid.quantize(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_values_on_a_grid_are_the_same_a_few_rows_at_a_time(
    columns: bool, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_rows, "_VALUES_AT_ONCE", 50)
    x = torch.randn(3, 40, 7, generator=torch.Generator().manual_seed(0))
    bound = torch.arange(1.0, 8.0) / 3 if columns else torch.tensor(1.5)
    grid = Grid.from_range(QSpec(8, symmetric=False, signed=signed), -bound * signed, bound * 2)
    before, expected = x.clone(), grid.dequantize(grid.quantize(x))
    assert torch.equal(grid.fake(x), expected) and torch.equal(x, before)
    # What has another order in memory, or a gradient, is computed at once.
    assert torch.equal(grid.fake(x.mT.contiguous().mT), expected)
    assert torch.equal(grid.fake(x.requires_grad_()), expected)
    x = x.detach()
    x[1, 2, 3] = torch.nan
    assert grid.fake(x).isnan().sum() == 1


def test_nothing_wraps_around_at_the_largest_integer() -> None:
    grid = Grid.from_range(QSpec(8), torch.tensor(-1.0), torch.tensor(1.0))
    assert grid.quantize(torch.tensor([1.0, 5.0, 1e9, -1e9])).tolist() == [127, 127, 127, -127]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_best_scale_loses_no_more_than_the_widest(bits: int) -> None:
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(bits))
    weight[3] = 0.0
    spec = QSpec(bits, per_channel=True)

    def loss(grid: Grid) -> torch.Tensor:
        return (grid.fake(weight) - weight).square().sum(1)

    best, widest = loss(mse_grid(weight, spec)), loss(minmax_grid(weight, spec))
    assert (best <= widest * (1 + 1e-6)).all()
    assert bits > 3 or best.sum() < 0.9 * widest.sum()
    assert best[3] == 0
