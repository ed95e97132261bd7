"""Values that wait come back as they were put, within the memory that they may take."""

import errno
import io
import os
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kaldi_quant.quant.shelf import Shelf, _OnDisk


def test_a_shelf_keeps_its_limit(tmp_path: Path) -> None:
    shelf, whole = Shelf(1000, tmp_path), torch.arange(400.0)
    values = [({"a": whole[:100] + number, "n": number}, [torch.arange(9) > number]) for number in range(4)]
    for number, value in enumerate(values):
        shelf.put(number, value)
    for number in (0, 3, 1, 2):
        found = shelf.take(number)
        assert found[0]["n"] == number and torch.equal(found[0]["a"], values[number][0]["a"])
        assert torch.equal(found[1][0], values[number][1][0]) and found[1][0].dtype == torch.bool
        shelf.put(number, found)
    # Two of the large ones are in memory.
    assert shelf.in_memory == 2 * 400 + 4 * 9 and shelf.on_disk >= 2 * 400
    # They have no names that could be left behind.
    assert not list(tmp_path.iterdir())
    shelf.close()


@pytest.mark.parametrize("limit", [0, 300_000, 10**9])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("elsewhere", [False, True])
def test_whatever_becomes_of_what_was_taken(
    limit: int, seed: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if elsewhere:
        # As on a GPU, where what comes from the disk is a copy.
        monkeypatch.setattr(_OnDisk, "is_given_itself", False)
        monkeypatch.setattr(Shelf, "_mapped", lambda shelf, kept, mapped=Shelf._mapped: mapped(shelf, kept).clone())
    rng, shelf = random.Random(seed), Shelf(limit)
    expected: dict[int, list[Tensor]] = {}

    def new() -> Tensor:
        shape = rng.choice([(0, 3), (7,), (30, 50), (200, 100), (2, 3, 4)])
        made = torch.rand(shape, dtype=rng.choice([torch.float32, torch.float64]))
        return made.T if len(shape) == 2 and rng.random() < 0.3 else made

    for number in range(12):
        values = [new() for _ in range(3)]
        shelf.put(number, values)
        expected[number] = [x.clone() for x in values]
    for _ in range(300):
        number = rng.randrange(12)
        if rng.random() < 0.2:
            assert all(map(torch.equal, shelf.look(number), expected[number]))
            continue
        values = shelf.take(number)
        assert all(map(torch.equal, values, expected[number]))
        for place, x in enumerate(values):
            values[place] = rng.choice([x, x, x, x[1:], x.reshape(-1), x.clone(), new(), values[0]])
            if rng.random() < 0.1:
                # As layers do that work in place.
                values[place].add_(1)
        expected[number] = [x.clone() for x in values]
        shelf.put(number, values)
        assert shelf.in_memory <= limit
    for number, tensors in expected.items():
        assert all(map(torch.equal, shelf.take(number), tensors))
        shelf.put(number, [])
    assert shelf.in_memory == shelf.on_disk == 0
    shelf.close()


def test_another_view_of_what_was_on_disk_is_not_written_over() -> None:
    shelf = Shelf(8000)
    first = torch.rand(4, 500)
    shelf.put(0, torch.rand(2000))
    shelf.put(1, first.clone())
    # There is room in memory now, and the place on disk is free for others.
    shelf.take(0)
    shelf.put(0, None)
    shelf.put(1, shelf.take(1).view(-1))
    shelf.put(2, torch.rand(4, 500))
    assert torch.equal(shelf.look(1), first.view(-1))
    shelf.close()


def test_what_was_not_changed_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(0)
    shelf.put(0, {"stays": torch.rand(100), "goes": torch.rand(100)})
    kept = []
    monkeypatch.setattr(
        Shelf, "_keep", lambda shelf, x, mapped, keep=Shelf._keep: kept.append(x) or keep(shelf, x, mapped)
    )
    values = shelf.take(0)
    values["comes"] = values.pop("goes") + values["stays"]
    shelf.put(0, values)
    assert len(kept) == 1 and kept[0] is values["comes"]
    assert torch.equal(shelf.look(0)["comes"], values["comes"])
    shelf.close()


@pytest.mark.parametrize("limit", [0, 10**9])
def test_a_container_takes_another_s_place(limit: int) -> None:
    shelf = Shelf(limit)
    for size in (50_000, 10_000):
        shelf.put(0, torch.rand(size))
        shelf.put(0, torch.full((size,), 2.0))
    assert torch.equal(shelf.take(0), torch.full((10_000,), 2.0))
    shelf.put(0, None)
    assert shelf.in_memory == shelf.on_disk == 0
    shelf.close()


def test_the_disk_space_of_what_is_gone_is_used_again() -> None:
    shelf = Shelf(0)
    for number in range(10):
        shelf.put(number, torch.rand(50_000))
    size = shelf.on_disk
    for _ in range(3):
        for number in range(10):
            shelf.put(number, shelf.take(number) + 1)
    # What is new is written before what it takes the place of is gone.
    assert shelf.on_disk <= size * 1.1 + 4096
    shelf.close()


def test_a_full_disk_is_told_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class _Full(io.BytesIO):
        def write(self, values: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: _Full())
    shelf = Shelf(0, tmp_path)
    with pytest.raises(OSError, match=r"No space left on device: hidden layers' values wait here .*--memory") as told:
        shelf.put(0, torch.rand(10))
    assert told.value.errno == errno.ENOSPC and told.value.filename == str(tmp_path)
