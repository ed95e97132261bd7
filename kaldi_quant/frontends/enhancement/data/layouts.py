"""The layouts of folders for enhancement, by name. Nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import EnhancementSet
from kaldi_quant.frontends.enhancement.data.reading import ReadOptions
from kaldi_quant.frontends.layouts import AUTO, layout_of
from kaldi_quant.frontends.layouts import reading as reading_folder
from kaldi_quant.registry import Registry


@dataclass(frozen=True)
class Layout:
    """How pairs, or what they are mixed of, lie in a folder.

    Attributes:
        told_by: what a folder of this layout is told by, for messages.
        found: whether a folder has that.
        read: reads such a folder, with whatever is wrong in it as a DataError; without options training is mixed as
            is usual there.
    """

    told_by: str
    found: Callable[[Path, ReadOptions], bool]
    read: Callable[[Path, MixOptions | None, ReadOptions], EnhancementSet]


LAYOUTS: Registry[Layout] = Registry("layout of speech for enhancement")

_HERE = __name__.rpartition(".")[0]
LAYOUTS.declare("listed", f"{_HERE}.listed")
LAYOUTS.declare("valentini", f"{_HERE}.valentini")
LAYOUTS.declare("parallel-folders", f"{_HERE}.parallel_folders")
LAYOUTS.declare("mbqat", f"{_HERE}.mbqat")


def read_enhancement(
    folder: Path, layout: str = AUTO, options: MixOptions | None = None, reading: ReadOptions | None = None
) -> EnhancementSet:
    """Finds the pairs of a folder, or what they are mixed of; audio is read when a pair is asked for.

    Args:
        folder: where the data are.
        layout: a name of ``LAYOUTS``; ``"auto"`` takes the one that the folder looks like.
        options: how training is mixed, where it is; None for what is usual in the layout.
        reading: what of the folder is read.

    Raises:
        UsageError: there is no such layout.
        DataError: there is no such folder, it has none of the layouts, or is broken.

    Example:
        >>> data = read_enhancement(Path("egs/enhancement/data"))
        >>> pair = data.train.item(0, number_of_pass=3)
        >>> pair.noisy.shape == pair.clean.shape
        True
    """
    folder, reading = Path(folder), reading or ReadOptions()
    chosen = layout_of(LAYOUTS, layout, folder, "speech for enhancement", lambda layout: layout.found(folder, reading))
    with reading_folder(folder):
        return chosen.read(folder, options, reading)
