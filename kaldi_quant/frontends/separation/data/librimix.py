"""LibriMix: tables of mixtures, or folders of mixtures and of each source, in which files are paired by their names.

Source: J. Cosentino et al., "LibriMix: an open-source dataset for generalizable speech separation", 2020, and its
public scripts. The tree is ``Libri2Mix/wav16k/min/{train-360,dev,test}/{mix_clean,mix_both,mix_single,s1,s2,noise}``;
tables are called ``mixture_train-360_mix_clean.csv`` and lie in ``metadata`` beside these, or in these folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.paired_files import paired
from kaldi_quant.frontends.separation.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.separation.data.mixtures import SeparationSet
from kaldi_quant.frontends.separation.data.options import TASKS, ReadOptions, Task
from kaldi_quant.frontends.separation.data.recorded import MixtureFiles, RecordedItems, RecordedMixtures
from kaldi_quant.frontends.separation.data.tables import Places, read_csv
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.signals.audio import read_header
from kaldi_quant.units import Hertz, Seconds

NAME = "librimix"
_SPLITS = {"train": ("train-360", "train-100", "train"), "dev": ("dev", "val"), "test": ("test",)}
_RATES = ("wav16k", "wav8k")
_METADATA = "metadata"
# Tables of measures lie beside those of mixtures.
_MEASURES = "metrics"
_EXTENSION = "wav"


def _found(folder: Path, options: ReadOptions) -> bool:
    return any(options.libri_folders) or any(_is_split(place, task) for place in _places(folder) for task in TASKS)


def _places(folder: Path) -> list[Path]:
    """Where splits may be: the folder itself, and what LibriMix makes below it."""
    below = [folder / rate / "min" for rate in _RATES]
    bases = [folder, *(base for base in below if base.is_dir())]
    return [folder, *(base / name for base in bases for names in _SPLITS.values() for name in names)]


def _is_split(folder: Path, task: str) -> bool:
    return (folder / TASKS[task].folder).is_dir() or bool(_tables(folder, TASKS[task], folder.name))


def _read(folder: Path, kind: Kind, options: ReadOptions) -> SeparationSet:
    rate, channels = options.rate or kind.rate, kind.channels
    splits = _splits(folder, options)
    found = {split: _mixtures(place, split, options) if place else [] for split, place in splits.items()}
    for split in ("train", "dev"):
        if found[split]:
            found[split] = _long_enough(found[split], options.seconds, str(splits[split]))
    kept = {
        split: files[:count] if count else files
        for (split, files), count in zip(found.items(), (options.train, options.dev, options.test), strict=True)
    }
    train = RecordedItems(kept["train"], rate, channels, options.seconds + options.spare, options.seed)
    dev = RecordedMixtures(kept["dev"], rate, channels, options.seconds)
    return SeparationSet(
        NAME, rate, options.sources, channels, train, dev, RecordedMixtures(kept["test"], rate, channels)
    )


def _splits(folder: Path, options: ReadOptions) -> dict[str, Path | None]:
    """The folder of each split, as told, or as found."""
    if any(options.libri_folders):
        told = dict(zip(_SPLITS, options.libri_folders, strict=True))
        return {split: folder / path if path else None for split, path in told.items()}
    for base in (folder, *(folder / rate / "min" for rate in _by_rate(options.rate))):
        there: dict[str, Path | None] = {}
        for split, names in _SPLITS.items():
            folders = (base / name for name in names)
            there[split] = next((place for place in folders if _is_split_of(place, options.task)), None)
        if any(there.values()):
            return there
    if _is_split(folder, options.task):
        return {"train": None, "dev": None, "test": folder}
    expected = TASKS[options.task].folder
    raise DataError(f"{folder} has no split of LibriMix for {options.task}: expected tables, or folders {expected}")


def _by_rate(rate: Hertz) -> Sequence[str]:
    return _RATES if rate != 8000 else _RATES[::-1]


def _is_split_of(folder: Path, task: str) -> bool:
    beside = folder.parent / _METADATA
    return folder.is_dir() and (_is_split(folder, task) or bool(_tables(beside, TASKS[task], folder.name)))


def _tables(folder: Path, task: Task, split: str) -> list[Path]:
    """The tables of a task in a folder; of those of several splits the split's own."""
    if not folder.is_dir():
        return []
    named = [
        path
        for path in sorted(folder.glob("*.csv"))
        if task.file in path.stem.rpartition("mix_")[2] and not path.name.startswith(_MEASURES)
    ]
    return [path for path in named if split in path.name] if len(named) > 1 or folder.name == _METADATA else named


def _mixtures(folder: Path, split: str, options: ReadOptions) -> list[MixtureFiles]:
    task = TASKS[options.task]
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist, or is no folder: expected LibriMix's {split}")
    # A test is read from its folders where it has them, as evaluation always does; training from its tables.
    if split == "test" and (folder / task.folder).is_dir():
        return _of_folders(folder, task, options.count)
    tables = _tables(folder, task, folder.name) or _tables(folder.parent / _METADATA, task, folder.name)
    if len(tables) > 1:
        listed = ", ".join(path.name for path in tables)
        raise DataError(f"{tables[0].parent} has several tables for {options.task}: {listed}; expected one")
    if tables:
        return _of_table(tables[0], task, options.count)
    if (folder / task.folder).is_dir():
        return _of_folders(folder, task, options.count)
    raise DataError(
        f"{folder} has no table whose name has {task.file!r} in it, and no folder {task.folder}, for {options.task}"
    )


def _of_table(table: Path, task: Task, count: int) -> list[MixtureFiles]:
    columns = ["mixture_path", *(f"source_{number + 1}_path" for number in range(count)), "length"]
    places = Places(table)
    found = []
    for where, row in read_csv(table, columns):
        mixture, *sources = (places.find(where, row[column]) for column in columns[:-1])
        # Tables that went through a spreadsheet have lengths like 48000.0.
        length = row["length"].removesuffix(".0")
        if not (length.isascii() and length.isdecimal()):
            raise DataError(f"{where}: expected a number of samples under length, found {row['length']!r}")
        name = row.get("mixture_ID") or mixture.stem
        found.append(MixtureFiles(name, mixture, tuple(sources), int(length), task.is_summed))
    return found


def _of_folders(folder: Path, task: Task, count: int) -> list[MixtureFiles]:
    folders = [folder / task.folder, *(folder / f"s{number + 1}" for number in range(count))]
    return [
        MixtureFiles(name, mixture, tuple(sources), None, task.is_summed)
        for name, (mixture, *sources) in paired(folders, _EXTENSION)
    ]


def _long_enough(files: Iterable[MixtureFiles], seconds: Seconds, where: str) -> list[MixtureFiles]:
    """What is no shorter. A table has lengths, but not their rate: it is that of the first file.

    Raises:
        DataError: nothing is left.
    """
    files, rates = list(files), {}
    found = []
    for one in files:
        folder = one.mixture.parent
        if folder not in rates or one.samples is None:
            header = read_header(one.mixture)
            rates[folder] = header.rate
            samples = header.samples if one.samples is None else one.samples
        else:
            samples = one.samples
        if samples >= int(seconds * rates[folder]):
            found.append(one)
    if not found:
        raise DataError(f"{where}: none of its {len(files)} mixtures is {seconds:g} s long or longer")
    return found


LAYOUTS.add(NAME)(Layout("LibriMix's tables, or folders mix_clean, mix_both or mix_single", _found, _read))
