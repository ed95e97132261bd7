"""LibriMix by speechbrain's tables, ``libri2mix_train-360.csv`` and so on, which are written where they are missing.

Columns are those of speechbrain's recipe for LibriMix: ID, duration in s, and of the mixture, of each source and of
noise the file, its format and options.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.frontends.paired_files import paired
from kaldi_quant.frontends.separation.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.separation.data.mixtures import SeparationSet
from kaldi_quant.frontends.separation.data.options import TASKS, ReadOptions
from kaldi_quant.frontends.separation.data.recorded import MixtureFiles, RecordedItems, RecordedMixtures
from kaldi_quant.frontends.separation.data.tables import Places, read_csv
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.signals.audio import read_header

NAME = "speechbrain"
SPLITS = ("train-360", "dev", "test")
_TREES = ("wav16k/min", "wav8k/min")


def table_name(split: str, speakers: int) -> str:
    """The file of a split."""
    return f"libri{speakers}mix_{split}.csv"


def _found(folder: Path, options: ReadOptions) -> bool:
    return any((folder / table_name(split, speakers)).is_file() for split in SPLITS for speakers in (2, 3))


def _read(folder: Path, kind: Kind, options: ReadOptions) -> SeparationSet:
    save, rate, channels = folder / options.save_folder, options.rate or kind.rate, kind.channels
    files = []
    for split, count in zip(SPLITS, (options.train, options.dev, options.test), strict=True):
        table = save / table_name(split, options.speakers)
        if not table.is_file():
            write_table(table, folder, split, options)
        listed = _listed(table, options)
        files.append(listed[:count] if count else listed)
    # As in speechbrain's recipe, nothing is too short; what is read of longer ones is as long as pieces are.
    train = RecordedItems(files[0], rate, channels, options.seconds + options.spare, options.seed)
    dev, test = (RecordedMixtures(some, rate, channels) for some in files[1:])
    return SeparationSet(NAME, rate, options.sources, channels, train, dev, test)


def write_table(table: Path, data_folder: Path, split: str, options: ReadOptions) -> None:
    """Writes the table of a split.

    Args:
        table: the file.
        data_folder: ``Libri2Mix``, with ``wav16k/min/<split>/{mix_clean,s1,s2}``; of noisy tasks ``mix_both``.
        split: of ``SPLITS``.
        options: task and speakers.

    Raises:
        DataError: a folder is missing, files do not match by name, or the table cannot be written.
    """
    base = next((place for tree in _TREES if (place := data_folder / tree / split).is_dir()), None)
    if base is None:
        raise DataError(f"{data_folder} has no folder {_TREES[0]}/{split}, and {table} does not exist")
    task = TASKS[options.task]
    names = ["mix", *(f"s{number + 1}" for number in range(options.speakers)), "noise"]
    folders = [base / task.folder, *(base / name for name in names[1:-1])]
    has_noise = (base / "noise").is_dir()
    columns = ["ID", "duration", *(f"{name}_wav{more}" for name in names for more in ("", "_format", "_opts"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    for number, (name, paths) in enumerate(paired(folders, "wav")):
        header = read_header(paths[0])
        row: dict[str, object] = {"ID": number, "duration": round(header.samples / header.rate, 4)}
        noise = (base / "noise" / f"{name}.wav",) if has_noise else ()
        for kind, path in zip(names, (*paths, *noise), strict=False):
            row |= {f"{kind}_wav": str(path.resolve()), f"{kind}_wav_format": "wav"}
        writer.writerow(row)
    with atomic_write(table, "w") as file:
        file.write(text.getvalue())


def _listed(table: Path, options: ReadOptions) -> list[MixtureFiles]:
    task, places = TASKS[options.task], Places(table)
    columns = ["ID", "mix_wav", *(f"s{number + 1}_wav" for number in range(options.count))]
    found = []
    for where, row in read_csv(table, columns):
        mixture, *sources = (places.find(where, row[column]) for column in columns[1:])
        folder = mixture.parent.name
        if folder != task.folder and folder in {TASKS[name].folder for name in TASKS}:
            raise DataError(f"{where}: {options.task} needs mixtures of {task.folder}, found one of {folder}")
        found.append(MixtureFiles(mixture.stem, mixture, tuple(sources), None, task.is_summed))
    return found


LAYOUTS.add(NAME)(Layout("speechbrain's tables libri2mix_train-360.csv and so on", _found, _read))
