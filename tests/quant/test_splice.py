"""Sums over rows that are put together from rows of one value: the same as over any others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kaldi_quant.quant import outer_sums, splice
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.paired_moments import PairedMoments
from kaldi_quant.quant.splice import SourceRows, Splice, SplicedSums

SHIFTS = [(0, 3), (3, 0), (0, 1, 2), (0, 3, 6), (2, 0, 5, 1), (0, 0), (1, 1, 0), (0,)]


def spliced(source: Tensor, shifts: tuple[int, ...]) -> Tensor:
    rows = source.shape[1] - max(shifts)
    return torch.cat([source[:, at : at + rows] for at in shifts], dim=-1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bytes_like(*shape: int, seed: int) -> Tensor:
    return torch.randint(-128, 128, shape, dtype=torch.int8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shifts", SHIFTS)
@pytest.mark.parametrize(("sequences", "rows"), [(1, 100), (3, 40)])
def test_a_splice_is_found_in_values(shifts: tuple[int, ...], sequences: int, rows: int) -> None:
    source = random(sequences, rows + max(shifts), 5)
    x = spliced(source, shifts)
    found = Splice.of(x)
    assert found == Splice(shifts)
    given = found.source(x)
    assert given is not None and torch.equal(given, source)


@pytest.mark.parametrize("rows", [0, 1, 3, 11])
def test_rows_of_little_in_common_are_not_spliced(rows: int) -> None:
    assert Splice.of(random(2, rows, 6)) == Splice()
    assert Splice.of(spliced(random(2, rows + 3, 6), (0, 3))) == Splice()


def test_of_values_that_stay_the_same_the_right_rows_are_found() -> None:
    source = random(2, 60, 4)
    # Frames that are repeated at the ends of an utterance, and silence in the middle of it.
    source[:, :20], source[:, 50:], source[0, 25:40] = source[:, 20:21], source[:, 50:51], 0.0
    assert Splice.of(spliced(source, (0, 2, 4))) == Splice((0, 2, 4))


@pytest.mark.parametrize("place", [(0, 3, 0), (1, 36, 9), (0, 20, 4)])
def test_rows_put_together_in_another_way_have_no_source(place: tuple[int, int, int]) -> None:
    x = spliced(random(2, 43, 5), (0, 3))
    assert Splice((0, 3)).source(x) is not None
    x[place] += 1.0
    assert Splice((0, 3)).source(x) is None
    assert Splice((0, 3)).source(x[:, :3]) is None


@pytest.mark.parametrize("shifts", SHIFTS)
@pytest.mark.parametrize("pieces", [(4096, 512), (50, 2)])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_sums_are_those_of_all_rows(
    shifts: tuple[int, ...], pieces: tuple[int, int], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outer_sums, "_ROWS_OF_A_PRODUCT", pieces[0])
    monkeypatch.setattr(outer_sums, "_BLOCK", pieces[1])
    squares, products = SplicedSums(Splice(shifts), of_squares=True), SplicedSums(Splice(shifts))
    assert squares.taken() is None and products.taken() is None
    expected: list[Tensor | float] = [0.0, 0.0]
    # Sequences of many lengths, down to fewer rows than what they have in common.
    for number, (sequences, rows) in enumerate([(3, 40), (1, 100), (4, 2), (2, 30)]):
        shape = sequences, rows + max(shifts), columns
        upper, lower, other = (bytes_like(*shape, seed=3 * number + part) for part in range(3))
        source = SourceRows([upper, lower])
        squares.add(source, source)
        products.add(SourceRows([other]), source)
        x = spliced(256 * upper.double() + lower.double(), shifts).flatten(0, 1)
        y = spliced(other.double(), shifts).flatten(0, 1)
        assert torch.equal(Splice(shifts).summed(source), x.sum(0))
        expected = [expected[0] + x.T @ x, expected[1] + y.T @ x]
    for sums, whole in zip((squares, products), expected, strict=True):
        found = sums.taken()
        assert found is not None and torch.equal(found, torch.as_tensor(whole))
        assert sums.taken() is None


def as_they_are(x: Tensor) -> Tensor:
    return x


def one_changed(x: Tensor) -> Tensor:
    x = x.clone()
    x[0, 3, 2] += 0.25
    return x


def with_nan(x: Tensor) -> Tensor:
    x = x.clone()
    x[0, 3, 2] = torch.nan
    return x


@pytest.mark.parametrize("on_grid", [True, False])
@pytest.mark.parametrize("change", [as_they_are, one_changed, with_nan])
def test_moments_of_spliced_inputs(
    on_grid: bool, change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts, columns = (0, 2, 4), 4
    grid = InputGrid(torch.full((12,), 0.25), torch.full((12,), 100, dtype=torch.int32), 0, 255, False)
    batches = []
    for number, (sequences, rows) in enumerate([(3, 40), (1, 300), (2, 150)]):
        y = random(sequences, rows, columns, seed=number) @ random(columns, columns, seed=9)
        x = (y + 0.1).div(0.25).round().clamp(-100, 155) * 0.25
        if number == 2:
            # Beyond what the first rows let expect.
            y = y * 9
        batches.append((spliced(x, shifts), spliced(y, shifts)))
    batches[1] = change(batches[1][0]), batches[1][1]
    used = []
    plain = SplicedSums.add
    monkeypatch.setattr(SplicedSums, "add", lambda self, *rows: (used.append(self.splice), plain(self, *rows))[1])
    moments = PairedMoments(12, grid=grid if on_grid else None)
    for x, y in batches:
        moments.add(x, y)
    # Squares and products of each batch that is spliced like the first one.
    second = Splice(shifts) if change is as_they_are else Splice()
    assert used == [splice for splice in (Splice(shifts), second, Splice(shifts)) for _ in range(2)]
    sides = (torch.cat([part.flatten(0, 1) for part in side]) for side in zip(*batches, strict=True))
    joint = torch.cat(tuple(sides), dim=1).double()
    joint = joint[joint.isfinite().all(1)]
    expected, sizes = torch.cov(joint.T, correction=0), joint.std(0)
    near = 1e-12 if on_grid else 1e-4
    assert moments.count == len(joint)
    assert ((moments.covariance - expected[:12, :12]).abs() <= near * torch.outer(sizes[:12], sizes[:12])).all()
    differences = joint[:, 12:] - joint[:, :12]
    noise = differences.abs().amax(0) * (4 / 127 / 2 / len(joint) ** 0.5)
    bound = torch.outer(5 * noise + 1e-4 * sizes[12:], sizes[:12])
    assert ((moments.cross_covariance - expected[12:, :12]).abs() <= bound).all()


def test_grids_that_differ_between_blocks_are_not_shared() -> None:
    x = spliced(random(2, 60, 3).mul(4).round() / 4, (0, 1))
    scale = torch.tensor([0.25] * 5 + [0.125])
    moments = PairedMoments(6, grid=InputGrid(scale, torch.full((6,), 100, dtype=torch.int32), 0, 255, False))
    moments.add(x, x)
    rows = x.flatten(0, 1).double()
    torch.testing.assert_close(moments.covariance, torch.cov(rows.T, correction=0), rtol=1e-12, atol=1e-12)


def test_more_blocks_than_are_looked_for_cost_nothing_but_time() -> None:
    shifts = tuple(range(splice._MOST_BLOCKS + 1))
    x = spliced(random(1, 80, 1), shifts)
    moments = PairedMoments(len(shifts))
    moments.add(x, x)
    torch.testing.assert_close(moments.covariance, torch.cov(x[0].double().T, correction=0), rtol=1e-3, atol=1e-4)
