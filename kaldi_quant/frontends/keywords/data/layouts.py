"""The layouts of folders of keywords, by name. Nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.frontends.keywords.data.keyword_set import KeywordSet, check_complete
from kaldi_quant.frontends.layouts import AUTO, layout_of, reading
from kaldi_quant.registry import Registry


@dataclass(frozen=True)
class Layout:
    """How recordings, classes and splits lie in a folder.

    Attributes:
        told_by: what a folder of this layout is told by, for messages.
        found: whether a folder has that.
        read: reads such a folder, with whatever is wrong in it as a DataError.
    """

    told_by: str
    found: Callable[[Path], bool]
    read: Callable[[Path], KeywordSet]


LAYOUTS: Registry[Layout] = Registry("layout of keywords")

_HERE = __name__.rpartition(".")[0]
LAYOUTS.declare("speech-commands", f"{_HERE}.speech_commands")
LAYOUTS.declare("spoken-digits", f"{_HERE}.spoken_digits")
LAYOUTS.declare("listed", f"{_HERE}.listed")


def read_keywords(folder: Path, layout: str = AUTO) -> KeywordSet:
    """Finds the recordings of a folder; their audio is not read.

    Args:
        folder: where the data are.
        layout: a name of ``LAYOUTS``; ``"auto"`` takes the one that the folder looks like.

    Raises:
        UsageError: there is no such layout.
        DataError: there is no such folder, it has none of the layouts or is broken, or a split lacks a class.

    Example:
        >>> keywords = read_keywords(Path("egs/keywords/data"))
        >>> keywords.classes[keywords.test[0].label]
        'down'
    """
    folder = Path(folder)
    chosen = layout_of(LAYOUTS, layout, folder, "recordings of keywords", lambda layout: layout.found(folder))
    with reading(folder):
        return check_complete(folder, chosen.read(folder))
