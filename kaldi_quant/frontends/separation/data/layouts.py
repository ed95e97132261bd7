"""The layouts of data for separation, by name. Nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.layouts import AUTO, check_layout, layout_of, reading
from kaldi_quant.frontends.separation.data.mixtures import SeparationSet
from kaldi_quant.frontends.separation.data.options import ReadOptions
from kaldi_quant.frontends.separation.networks.known import STEMS, Kind
from kaldi_quant.registry import Registry

#: In the place of a folder: the band that plays from seeds.
BAND = "band"


@dataclass(frozen=True)
class Layout:
    """How mixtures, or what they are made of, lie in a folder.

    Attributes:
        told_by: what a folder of this layout is told by, for messages.
        found: whether a folder has that.
        read: reads such a folder, for a kind of network, with whatever is wrong in it as a DataError.
        is_music: whether it has stems; else it has speakers.
    """

    told_by: str
    found: Callable[[Path, ReadOptions], bool]
    read: Callable[[Path, Kind, ReadOptions], SeparationSet]
    is_music: bool = False


LAYOUTS: Registry[Layout] = Registry("layout of data for separation")

_HERE = __name__.rpartition(".")[0]
LAYOUTS.declare("listed", f"{_HERE}.listed")
LAYOUTS.declare(BAND, f"{_HERE}.band")
LAYOUTS.declare("musdb", f"{_HERE}.musdb")
LAYOUTS.declare("speechbrain", f"{_HERE}.speechbrain_tables")
LAYOUTS.declare("librimix", f"{_HERE}.librimix")


def open_separation_data(
    where: Path | str, kind: Kind, layout: str = AUTO, options: ReadOptions | None = None
) -> SeparationSet:
    """Finds the mixtures of a folder, or what they are made of; audio is read when a mixture is asked for.

    Args:
        where: the folder; ``"band"`` for music that is made from seeds, which needs none.
        kind: of the network: its rate, its sources and its channels.
        layout: a name of ``LAYOUTS``; ``"auto"`` takes the one that the folder looks like.
        options: what is read.

    Raises:
        UsageError: there is no such layout, or it has other sources than the network.
        DataError: there is no such folder, it has none of the layouts, or is broken.

    Example:
        >>> data = open_separation_data(Path("egs/enhancement/data"), NETWORKS["conv-tasnet-small"])
        >>> data.train.item(0, number_of_pass=3).sources.shape
        (2, 1, 24000)
    """
    options = options or ReadOptions()
    folder = Path(where)
    check_layout(LAYOUTS, layout)
    if str(where) == BAND and layout in (AUTO, BAND):
        chosen = LAYOUTS[BAND]
    else:
        expected = f"data for separation, or {BAND!r}"
        chosen = layout_of(LAYOUTS, layout, folder, expected, lambda layout: layout.found(folder, options))
    if chosen.is_music != (kind.sources == STEMS):
        what = ("stems of music", "speakers")
        wanted, there = what if not chosen.is_music else what[::-1]
        raise UsageError(f"{where} has {there}, but the network separates {wanted}: {', '.join(kind.sources)}")
    with reading(folder):
        return chosen.read(folder, kind, options)
