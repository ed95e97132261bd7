"""Folders in which what is interrupted goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_or_none(folder: str | Path | None) -> Iterator[Path]:
    """A folder, or one that is gone behind the block."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
