"""Files of several folders that belong together by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaldi_quant.errors import DataError


def paired(folders: Sequence[Path], extension: str) -> list[tuple[str, tuple[Path, ...]]]:
    """Files of several folders by their names.

    Args:
        folders: one behind the other.
        extension: that names end with.

    Returns:
        (name without the ending, a file of each folder) pairs, in the order of names.

    Raises:
        DataError: a folder is missing or has no such file, or a file has no partner; names the first that has none.
    """
    suffix = f".{extension.removeprefix('.')}"
    found = {folder: _named(folder, suffix) for folder in folders}
    names = sorted(set().union(*found.values()))
    for name in names:
        there = next(folder for folder in folders if name in found[folder])
        for folder in folders:
            if name not in found[folder]:
                counts = [f"{len(found[folders[0]])} files in {folders[0]}"]
                counts += [f"{len(found[other])} in {other}" for other in folders[1:]]
                listed = f"{', '.join(counts[:-1])} and {counts[-1]}"
                raise DataError(f"{found[there][name]} has no partner {folder / name} ({listed})")
    return [(name.removesuffix(suffix), tuple(found[folder][name] for folder in folders)) for name in names]


def _named(folder: Path, suffix: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist, or is no folder: expected files that end with {suffix}")
    found = {path.name: path for path in folder.iterdir() if path.name.endswith(suffix) and path.is_file()}
    if not found:
        raise DataError(f"{folder} has no files that end with {suffix}")
    return found
