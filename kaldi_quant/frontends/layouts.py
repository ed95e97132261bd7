"""Layouts of folders with data, by name, and which of them a folder has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.registry import Registry

#: In the place of a name: the layout that a folder looks like.
AUTO = "auto"


class Recognizable(Protocol):
    """A layout."""

    @property
    def told_by(self) -> str:
        """What a folder of this layout is told by, for messages."""


Layout = TypeVar("Layout", bound=Recognizable)


def check_layout(layouts: Registry[Layout], name: str) -> None:
    """Refuses names of no layout.

    Raises:
        UsageError: it is none.
    """
    if name != AUTO and name not in layouts:
        raise UsageError(f"the {layouts.what} {name!r} is not one of {', '.join([AUTO, *layouts])}")


def layout_of(
    layouts: Registry[Layout], name: str, folder: Path, expected: str, found: Callable[[Layout], bool]
) -> Layout:
    """The layout of a folder.

    Args:
        layouts: all.
        name: of one of them, or ``AUTO``.
        folder: of data.
        expected: what is in it, for messages.
        found: whether the folder has that by which a layout is told.

    Raises:
        UsageError: there is no layout of this name.
        DataError: there is no such folder, or it has none of the layouts.
    """
    check_layout(layouts, name)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist, or is no folder: expected {expected}")
    if name != AUTO:
        return layouts[name]
    for known in layouts:
        if found(layouts[known]):
            return layouts[known]
    listed = "; ".join(f"{known}: {layouts[known].told_by}" for known in layouts)
    raise DataError(f"{folder} has none of the {layouts.what.replace('layout', 'layouts', 1)} ({listed})")


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """What the system refuses while a folder is read is a DataError.

    Raises:
        DataError: a file or a folder cannot be read; names it.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
