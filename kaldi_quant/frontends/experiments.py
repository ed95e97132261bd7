"""Where the cells of a recipe lie: ``EXP/<network>/<cell>/``, or ``EXP/<seed>/<network>/<cell>/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.cells import CELL_NAME, FLOAT_METHOD


@dataclass(frozen=True)
class Experiment:
    """The cells of all networks, made with one seed.

    Args:
        seed: the name of its folder; empty where there are no seeds.
        folder: of the networks.
        networks: name → the folders of its cells, the float one first.
    """

    seed: str
    folder: Path
    networks: Mapping[str, tuple[Path, ...]]


def experiments_in(folder: Path) -> list[Experiment]:
    """The experiments below a folder, one for each seed.

    Raises:
        DataError: there are no cells, or cells of seeds and others.
    """
    plain, seeded = (sorted(path.parent for path in folder.glob(f"{stars}/{CELL_NAME}")) for stars in ("*/*", "*/*/*"))
    if plain and seeded:
        raise DataError(f"{folder} has cells of seeds and others, such as {seeded[0]} and {plain[0]}: give one of them")
    if not plain and not seeded:
        raise DataError(f"{folder} has no cells: expected NETWORK/CELL/{CELL_NAME}, or SEED/NETWORK/CELL/{CELL_NAME}")
    roots = dict.fromkeys(cell.parent.parent for cell in (*plain, *seeded))
    return [_experiment(root, root.name if seeded else "") for root in roots]


def _experiment(root: Path, seed: str) -> Experiment:
    networks: dict[str, list[Path]] = {}
    for path in sorted(root.glob(f"*/*/{CELL_NAME}")):
        networks.setdefault(path.parent.parent.name, []).append(path.parent)
    ordered = {
        name: tuple(sorted(cells, key=lambda cell: (cell.name != FLOAT_METHOD, cell.name)))
        for name, cells in networks.items()
    }
    return Experiment(seed, root, ordered)


def common_cells(experiments: Sequence[Experiment], network: str) -> list[str]:
    """The cells of a network that all experiments have, in the order of the first."""
    names = [[cell.name for cell in each.networks.get(network, ())] for each in experiments]
    return [name for name in names[0] if all(name in others for others in names)]
