"""Values that wait, in memory up to a limit and beyond it on disk, in files that vanish with the process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kaldi_quant.units import Bytes


class _OnDisk:
    """Stands for a tensor in a file."""

    def __init__(self, like: Tensor, offset: int) -> None:
        self.dtype, self.shape, self.device, self.offset = like.dtype, like.shape, like.device, offset

    @property
    def bytes(self) -> Bytes:
        return self.shape.numel() * self.dtype.itemsize


class Shelf:
    """Containers of tensors by number.

    Those that came first stay in memory: all are taken one after the other, again and again, so that any other choice
    would put each on disk before it is wanted.

    Args:
        limit: of the memory that they take.
        folder: for the files; by default where temporary files are.
    """

    def __init__(self, limit: Bytes, folder: Path | None = None) -> None:
        self.limit, self.folder = limit, folder
        self._kept: dict[int, Any] = {}
        self._sizes: dict[int, Bytes] = {}
        self._files: dict[int, IO[bytes]] = {}

    def put(self, number: int, value: Any) -> None:
        """Puts a container where it was, or anew."""
        self._sizes.pop(number, None)
        size = sum(storages.values()) if (storages := _storages(value)) else 0
        if sum(self._sizes.values()) + size <= self.limit:
            self._kept[number], self._sizes[number] = value, size
            if number in self._files:
                self._files.pop(number).close()
            return
        if number not in self._files:
            self._files[number] = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - closed with the shelf
        file = self._files[number]
        file.seek(0)
        file.truncate()
        self._kept[number] = pytree.tree_map(lambda leaf: _written(leaf, file), value)

    def take(self, number: int) -> Any:
        """A container; it stays counted until it is put back."""
        value = self.look(number)
        del self._kept[number]
        return value

    def look(self, number: int) -> Any:
        """A container, which stays where it is and is not to be changed."""
        value = self._kept[number]
        if number not in self._files:
            return value
        return pytree.tree_map(lambda leaf: _read(leaf, self._files[number]), value)

    def close(self) -> None:
        """Removes all."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._kept.clear()
        self._sizes.clear()


def _storages(value: Any) -> dict[int, Bytes]:
    """The memory behind tensors, each once: views share it."""
    return {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in _tensors(value)}


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))


def _written(leaf: Any, file: IO[bytes]) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    found = _OnDisk(leaf, file.tell())
    file.write(leaf.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found


def _read(leaf: Any, file: IO[bytes]) -> Any:
    if not isinstance(leaf, _OnDisk):
        return leaf
    file.seek(leaf.offset)
    values = np.empty(leaf.bytes, np.uint8)
    file.readinto(values.data)  # type: ignore[attr-defined]
    return torch.from_numpy(values).view(leaf.dtype).view(leaf.shape).to(leaf.device)
