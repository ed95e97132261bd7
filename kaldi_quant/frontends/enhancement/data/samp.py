"""MBQAT's test data: files of HDF5 that are called after their noise and ratio, ``test_babble_snr-5_1.samp``.

A file has groups 0, 1, 2 and so on, each with the datasets ``noisy_raw`` and ``clean_raw``, samples (n,).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError
from kaldi_quant.frontends.digests import update_with_file
from kaldi_quant.frontends.enhancement.data.pairs import Decibels, Pair, check_pair
from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.signals.stft import Array

_NOISY, _CLEAN = "noisy_raw", "clean_raw"
_NAME = re.compile(r"test_(?P<noise>.+)_snr(?P<snr>-?\d+(?:\.\d+)?)_(?P<which>[^_]+)\.samp")
_ENDING = ".samp"


class SampPairs:
    """``Pairs`` of files of HDF5. Silent speech is allowed.

    Args:
        places: file and group of each pair.
    """

    def __init__(self, places: Sequence[tuple[Path, str]]) -> None:
        self.places = tuple(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Pair:
        path, group = self.places[check_index(index, len(self))]
        noise, snr = condition(path)
        with _opened(path) as file:
            noisy, clean = (_samples(path, file, group, name) for name in (_NOISY, _CLEAN))
        return check_pair(Pair(f"{path.stem}/{group}", noisy, clean, noise, snr))

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """As of ``Pairs``."""
        found = hashlib.sha256(repr([(path.name, group) for path, group in self.places]).encode())
        for path in sorted({path for path, _ in self.places}):
            update_with_file(found, path)
        return found.hexdigest()


def find_samp_files(folder: Path) -> list[Path]:
    """The files of a folder, in the order of names.

    Raises:
        DataError: there is no such folder, or no such file in it, or one is called otherwise.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist, or is no folder: expected files like test_babble_snr-5_1{_ENDING}")
    found = sorted(folder.glob(f"*{_ENDING}"))
    if not found:
        raise DataError(f"{folder} has no files like test_babble_snr-5_1{_ENDING}")
    for path in found:
        condition(path)
    return found


def groups_of(path: Path) -> list[tuple[Path, str]]:
    """The places of a file's pairs, in the order of their numbers.

    Raises:
        MissingDependencyError: h5py is not installed.
        DataError: it is no file of HDF5, or has no groups 0, 1, 2 and so on, or a group lacks a dataset.
    """
    with _opened(path) as file:
        names = sorted((name for name in file if name.isdecimal()), key=int)
        if not names:
            raise DataError(f"{path} has no groups 0, 1, 2 and so on, found {', '.join(file) or 'none'}")
        for name in names:
            lacking = [dataset for dataset in (_NOISY, _CLEAN) if dataset not in file[name]]
            if lacking:
                raise DataError(f"{path}, group {name}: there is no dataset {lacking[0]}")
    return [(path, name) for name in names]


def condition(path: Path) -> tuple[str, Decibels]:
    """Noise and ratio that a file is called after.

    Raises:
        DataError: it is called otherwise.

    Example:
        >>> condition(Path("test_ADTbabble_snr-2_0.samp"))
        ('ADTbabble', -2.0)
    """
    found = _NAME.fullmatch(path.name)
    if not found:
        raise DataError(f"{path}: expected a name like test_babble_snr-5_1{_ENDING}, with noise, ratio and number")
    return found["noise"], float(found["snr"])


def _samples(path: Path, file: Any, group: str, name: str) -> Array:
    where = f"{path}, group {group}, {name}"
    values = file[group][name][()]
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        raise DataError(f"{where}: expected samples as floats, found {getattr(values, 'dtype', type(values).__name__)}")
    if values.ndim != 1:
        raise DataError(f"{where}: expected samples of one channel, found an array of {values.shape}")
    if not np.isfinite(values).all():
        raise DataError(f"{where} has samples that are not finite (NaN or infinity)")
    return values.astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(f"reading {path.name} needs the package h5py: pip install h5py") from error
    if not path.is_file():
        raise DataError(f"{path} does not exist, or is no file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as HDF5: {' '.join(str(error).split())}") from error
