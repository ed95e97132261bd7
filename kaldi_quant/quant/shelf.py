"""Values that wait, in memory up to a limit and beyond it on disk, in a mapped file that vanishes with the process."""

from __future__ import annotations

import mmap
import tempfile
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kaldi_quant.heap import Growth
from kaldi_quant.units import Bytes


@dataclass(eq=False)
class _InMemory:
    """A tensor that is kept."""

    tensor: Tensor
    is_given_itself = True

    @property
    def bytes(self) -> Bytes:
        return self.tensor.nbytes


@dataclass(eq=False)
class _OnDisk:
    """Stands for a tensor in the file."""

    dtype: torch.dtype
    shape: torch.Size
    device: torch.device
    offset: int

    @property
    def is_given_itself(self) -> bool:
        """Whether what layers change in place, once it was taken, is changed here, too."""
        return self.device.type == "cpu"

    @property
    def bytes(self) -> Bytes:
        return self.shape.numel() * self.dtype.itemsize


_Kept = _InMemory | _OnDisk


class Shelf:
    """Containers of tensors by number. What was taken is not to be used any more once its container is back.

    Those that came first stay in memory: all are taken one after the other, again and again, so that any other choice
    would put each on disk before it is wanted. What is put back as it was taken is not written again, and of what is on
    disk only what is looked at is read.

    Args:
        limit: of the memory that they take.
        folder: for the file; by default where temporary files are.
    """

    def __init__(self, limit: Bytes, folder: Path | None = None) -> None:
        self.limit, self.folder = limit, folder
        #: The memory that they take now.
        self.in_memory: Bytes = 0
        self._containers: dict[int, Any] = {}
        # Of what was taken the tensors that were given, each with what it stands for.
        self._given: dict[int, list[tuple[Tensor, _Kept]]] = {}
        self._file: IO[bytes] | None = None
        self._regions = _Regions()
        self._growth = Growth()

    @property
    def on_disk(self) -> Bytes:
        """The disk space that they take now."""
        return self._regions.end

    def put(self, number: int, value: Any) -> None:
        """Puts a container where it was, or in another's place, or anew."""
        if number in self._containers:
            self.take(number)
        tensors = {id(x): x for x in _tensors(value)}
        given = self._given.pop(number, [])
        found = {id(x): kept for x, kept in given if id(x) in tensors and kept.is_given_itself}
        gone = [kept for x, kept in given if id(x) not in found]
        mapped = {x.untyped_storage().data_ptr() for x, kept in given if isinstance(kept, _OnDisk)}
        self.in_memory -= sum(kept.bytes for kept in gone if isinstance(kept, _InMemory))
        for key, x in tensors.items():
            if key not in found:
                found[key] = self._keep(x, mapped)
        # What is new may have been a part of them.
        for kept in gone:
            if isinstance(kept, _OnDisk):
                self._regions.give(kept.offset, kept.bytes)
        if self._file is not None and self._regions.end < self._file.seek(0, 2) // 2:
            self._file.truncate(self._regions.end)
        self._containers[number] = pytree.tree_map(lambda leaf: found.get(id(leaf), leaf), value)
        self._growth.check()

    def take(self, number: int) -> Any:
        """A container; it stays counted until it is put back."""
        given: dict[int, tuple[Tensor, _Kept]] = {}
        value = self._shown(self._containers.pop(number), given)
        self._given[number] = list(given.values())
        return value

    def look(self, number: int) -> Any:
        """A container, which stays where it is and is not to be changed."""
        return self._shown(self._containers[number], {})

    def close(self) -> None:
        """Removes all."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._containers.clear()
        self._given.clear()
        self.in_memory, self._regions = 0, _Regions()

    def _shown(self, container: Any, given: dict[int, tuple[Tensor, _Kept]]) -> Any:
        def show(leaf: Any) -> Any:
            if not isinstance(leaf, _Kept):
                return leaf
            if id(leaf) not in given:
                given[id(leaf)] = (leaf.tensor if isinstance(leaf, _InMemory) else self._mapped(leaf), leaf)
            return given[id(leaf)][0]

        return pytree.tree_map(show, container)

    def _keep(self, x: Tensor, mapped: set[int]) -> _Kept:
        """Keeps a new tensor; mapped: where storages begin that are parts of the file."""
        if self.in_memory + x.nbytes <= self.limit:
            self.in_memory += x.nbytes
            # A part of something would keep all of it, and a part of the file may be written over.
            storage = x.untyped_storage()
            is_own = storage.nbytes() == x.nbytes and storage.data_ptr() not in mapped
            return _InMemory(x if is_own else x.clone())
        kept = _OnDisk(x.dtype, x.shape, x.device, self._regions.take(x.nbytes))
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - closed with the shelf
            self._file.seek(kept.offset)
            self._file.write(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
            self._file.flush()
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}: hidden layers' values wait here (TMPDIR names another folder, and with "
                "more --memory fewer of them do)",
                str(self.folder or tempfile.gettempdir()),
            ) from error
        return kept

    def _mapped(self, kept: _OnDisk) -> Tensor:
        if not kept.bytes:
            return torch.empty(kept.shape, dtype=kept.dtype, device=kept.device)
        assert self._file is not None
        part = mmap.mmap(self._file.fileno(), kept.bytes, offset=kept.offset)
        return torch.frombuffer(part, dtype=kept.dtype).view(kept.shape).to(kept.device)


class _Regions:
    """Which parts of a file are used."""

    def __init__(self) -> None:
        self.end = 0
        # (begin, end), in order; none touches another, nor the end.
        self._free: list[tuple[int, int]] = []

    def take(self, size: Bytes) -> int:
        """Where there is room: in the first gap that suffices, or at the end."""
        size = _rounded(size)
        for number, (begin, end) in enumerate(self._free):
            if end - begin >= size:
                self._free[number : number + 1] = [(begin + size, end)] if end - begin > size else []
                return begin
        self.end += size
        return self.end - size

    def give(self, offset: int, size: Bytes) -> None:
        """Takes a region back."""
        if not size:
            return
        insort(self._free, (offset, offset + _rounded(size)))
        joined: list[tuple[int, int]] = []
        for begin, end in self._free:
            if joined and joined[-1][1] == begin:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((begin, end))
        if joined and joined[-1][1] == self.end:
            self.end = joined.pop()[0]
        self._free = joined


def _rounded(size: Bytes) -> Bytes:
    """To what a file can be mapped in."""
    return -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))
