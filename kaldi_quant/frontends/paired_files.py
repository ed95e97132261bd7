"""Files of signals that belong together: those of several folders by their names, and whether they are alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.audio import Header, read_header


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


def check_alike(paths: Sequence[Path], channels: int) -> Header:
    """What files say of themselves that are compared sample by sample.

    Args:
        paths: of audio.
        channels: that each has.

    Returns:
        what the first says.

    Raises:
        DataError: one is no audio, is empty or has other channels, or it differs from the first in rate or length.
    """
    first = read_header(paths[0])
    for path in paths:
        header = read_header(path)
        if header.channels != channels:
            raise DataError(f"{path} has {header.channels} channels, expected {channels}")
        if not header.samples:
            raise DataError(f"{path} is empty, it has 0 samples")
        if header.rate != first.rate:
            raise DataError(f"{paths[0]} and {path} differ in rate: {first.rate} and {header.rate} Hz")
        if header.samples != first.samples:
            raise DataError(f"{paths[0]} and {path} differ in length: {first.samples} and {header.samples} samples")
    return first
