"""Sums of outer products from planes of 8-bit integers: exact for integers, near for floats."""

import pytest
import torch
from torch import Tensor

from kaldi_quant.quant import few_rows, outer_sums
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.outer_sums import OuterSums, summed
from kaldi_quant.quant.paired_moments import PairedMoments
from kaldi_quant.quant.planes import Planes


def whole(planes: list[Tensor]) -> Tensor:
    return planes[0].double() if len(planes) == 1 else planes[0].double() * 256 + planes[1].double()


def sums_of(first: list[Tensor], second: list[Tensor], of_squares: bool = False) -> Tensor:
    sums = OuterSums(of_squares)
    for begin in range(0, len(first[0]), 100):
        rows = slice(begin, begin + 100)
        sums.add([plane[rows] for plane in first], [plane[rows] for plane in second])
    found = sums.taken()
    assert found is not None and sums.taken() is None
    return found


@pytest.fixture(params=[(4096, 512), (150, 2)], autouse=True)
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of few rows, and of few columns, at a time, too."""
    monkeypatch.setattr(outer_sums, "_ROWS_OF_A_PRODUCT", request.param[0])
    monkeypatch.setattr(outer_sums, "_BLOCK", request.param[1])


@pytest.mark.parametrize("rows", [1, 17, 300])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_floats_on_two_planes(rows: int, size: float) -> None:
    x = torch.randn(rows, 7, generator=torch.Generator().manual_seed(rows)) * size
    x[:, 3] = 5.0 * size
    planes = Planes.over(x)
    found = planes.integers(x)
    assert found is not None and [plane.dtype for plane in found] == [torch.int8] * 2
    assert ((planes.values(found) - x.double()).abs() <= 0.51 * planes.step + 1e-6 * x.abs().amax(0)).all()
    integers = whole(found)
    assert torch.equal(sums_of(found, found, of_squares=True), integers.T @ integers)
    assert torch.equal(sums_of(found, found), integers.T @ integers)
    assert torch.equal(summed(found), integers.sum(0))


@pytest.mark.parametrize("columns", [(1, 1), (1, 4), (4, 1), (3, 2)])
@pytest.mark.parametrize("planes", [1, 2])
def test_sums_of_few_columns(columns: tuple[int, int], planes: int) -> None:
    first, second = (
        [torch.randint(-128, 128, (400, number), dtype=torch.int8) for _ in range(planes)] for number in columns
    )
    assert torch.equal(sums_of(first, second), whole(first).T @ whole(second))
    assert torch.equal(sums_of(first, first, of_squares=True), whole(first).T @ whole(first))


def test_sums_of_more_rows_than_32_bits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer_sums, "MOST_ROWS", 250)
    # Any processor's 32 bits would hold these; what is looked at is that none is lost where others begin.
    planes = [torch.randint(-128, 128, (1700, 5), dtype=torch.int8) for _ in range(2)]
    integers = whole(planes)
    assert torch.equal(sums_of(planes, planes, of_squares=True), integers.T @ integers)
    assert torch.equal(sums_of(planes, planes[:1]), integers.T @ planes[0].double())


def test_a_few_rows_at_a_time_are_the_same_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(300, 7)
    planes = Planes.over(x)
    expected = planes.integers(x)
    monkeypatch.setattr(few_rows, "_VALUES_AT_ONCE", 50)
    found = planes.integers(x)
    assert expected is not None and found is not None and all(map(torch.equal, found, expected))
    x[250] *= 1e4
    assert planes.integers(x) is None


def test_what_lies_beyond_the_grid_is_told() -> None:
    planes = Planes.over(torch.randn(50, 4))
    assert planes.integers(torch.full((2, 4), 1e4)) is None
    assert planes.integers(torch.full((2, 4), torch.nan)) is None


@pytest.mark.parametrize("low", [0, -255, -90])
def test_a_grid_of_8_bits_is_one_plane_without_loss(low: int) -> None:
    scale = torch.rand(5) + 0.01
    integers = torch.randint(low, low + 256, (400, 5), generator=torch.Generator().manual_seed(1)).double()
    planes = Planes.of_grid(scale, torch.full((5,), low), torch.full((5,), low + 255))
    assert planes is not None
    found = planes.integers((integers * scale).float())
    assert found is not None and len(found) == 1
    assert torch.equal(whole(found), integers - low - 128)
    assert torch.equal(sums_of(found, found, of_squares=True), whole(found).T @ whole(found))
    assert Planes.of_grid(scale, torch.zeros(5), torch.full((5,), 256)) is None


def test_only_columns_that_need_it_get_a_wider_grid() -> None:
    first = torch.randn(50, 4, generator=torch.Generator().manual_seed(5))
    more = first.clone()
    more[7, 2] = -300.0
    planes = Planes.over(first)
    wider = planes.over_more(more)
    assert wider.integers(more) is not None and wider.integers(first) is not None
    assert (wider.step != planes.step).tolist() == [False, False, True, False]
    # One plane's grid becomes one of two, in all columns.
    narrow = Planes.of_grid(torch.ones(4), torch.full((4,), -10), torch.full((4,), 10))
    assert narrow is not None and narrow.over_more(more).integers(more) is not None


def test_differences_take_one_plane() -> None:
    values = Planes.over(torch.randn(50, 3, generator=torch.Generator().manual_seed(6)))
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(7)) * torch.tensor([1e-2, 1e2, 0.0])
    planes = Planes.over_differences(x, values)
    found = planes.integers(x)
    assert found is not None and len(found) == 1 and planes.offset.tolist() == [0.0] * 3
    assert ((planes.values(found) - x.double()).abs() <= 1.01 * planes.step).all()
    assert ((planes.step <= 4.01 * x.abs().amax(0) / 127) | (planes.step == values.step)).all()
    # Where all were zero so far others of a size that matters have room, and larger ones get it.
    assert planes.step[2] == values.step[2]
    x[3] = torch.tensor([0.0, 500.0, 1e3])
    assert planes.integers(x) is None
    wider = planes.over_more(x)
    assert wider.of_differences and wider.count == 1 and wider.offset.tolist() == [0.0] * 3
    assert wider.integers(x) is not None and (wider.step > planes.step).tolist() == [False, True, True]


@pytest.mark.parametrize("on_grid", [True, False])
def test_moments_of_float32(on_grid: bool) -> None:
    random = torch.Generator().manual_seed(2)
    mixing = torch.randn(6, 6, generator=random)
    y = torch.randn(900, 6, generator=random) @ mixing + 20.0
    scale, zero = torch.full((6,), 0.25), torch.full((6,), 10, dtype=torch.int32)
    x = (y / 0.25).round().clamp(-10, 245) * 0.25
    # Beyond what the first rows let expect: the grid gets wider.
    y[700:720] *= 30
    moments = PairedMoments(6, grid=InputGrid(scale, zero, 0, 255, False) if on_grid else None)
    for some, others in zip(x.split(100), y.split(100), strict=True):
        moments.add(some, others)
    joint = torch.cat([x, y], 1).double()
    centred = joint - joint.mean(0)
    expected = centred.T @ centred / len(joint)
    sizes = expected.diagonal().sqrt()
    # Differences lie up to half a step from their grid, by chance on either side.
    near, of_noise = 1e-12 if on_grid else 1e-4, (y - x).abs().amax(0).double() * (4 / 127 / 2 / len(x) ** 0.5)
    assert moments.count == 900
    torch.testing.assert_close(moments.mean, joint.mean(0)[:6], rtol=near, atol=0)
    assert ((moments.covariance - expected[:6, :6]).abs() <= near * torch.outer(sizes[:6], sizes[:6])).all()
    assert (
        (moments.cross_covariance - expected[6:, :6]).abs() <= torch.outer(5 * of_noise + 1e-4 * sizes[6:], sizes[:6])
    ).all()
    bound = 5 * of_noise + 1e-4 * sizes[6:]
    assert ((moments.float_mean - joint.mean(0)[6:]).abs() <= bound).all() and (bound <= 0.05 * sizes[6:]).all()


def test_rows_that_are_not_on_the_grid_get_one_of_their_own() -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(3))
    wrong = InputGrid(torch.full((3,), 0.1), torch.full((3,), 128, dtype=torch.int32), 0, 255, False)
    moments = PairedMoments(3, grid=wrong)
    moments.add(x, x)
    torch.testing.assert_close(moments.covariance, torch.cov(x.double().T, correction=0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moments.covariance, moments.cross_covariance, rtol=1e-3, atol=1e-4)


def test_the_order_of_rows_makes_no_difference() -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(4))
    y = x + 0.1
    found = []
    for parts in (1, 7):
        moments = PairedMoments(4)
        first = torch.cat([x[:1] * 0 + x.amin(0), x[:1] * 0 + x.amax(0)])
        moments.add(first, first)
        for some, others in zip(x.flip(0).tensor_split(parts), y.flip(0).tensor_split(parts), strict=True):
            moments.add(some, others)
        found.append(moments)
    assert torch.equal(found[0].covariance, found[1].covariance)
    # By chance differences are rounded to one side or the other.
    noise = 4 * 0.1 / 127 / 2 / len(x) ** 0.5
    torch.testing.assert_close(found[0].cross_covariance, found[1].cross_covariance, rtol=0, atol=10 * noise)
