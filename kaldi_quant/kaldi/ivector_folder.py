"""Folders of i-vectors, and whether they come from the extractor that a model was trained with.

Source: ``steps/nnet2/get_ivector_id.sh`` and ``check_ivectors_compatible.sh``.
"""

from __future__ import annotations

import glob
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.kaldi.companions import IVECTOR_ID_NAME
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo
from kaldi_quant.kaldi.specifiers import parse_rspecifier
from kaldi_quant.kaldi.tables import matrix_writer

_log = logging.getLogger(__name__)

_SCRIPT_NAME, _ARCHIVE_NAME = "ivector_online.scp", "ivector_online.1.ark"
_PERIOD_NAME, _EXTRACTOR_NAME = "ivector_period", "final.ie"
_LONGEST_ID, _LONGEST_PERIOD = 4096, 100_000


@dataclass(frozen=True)
class IvectorFolder:
    """The online i-vectors of a data folder.

    Args:
        path: the folder.
        period: frames per row.
    """

    path: Path
    period: int

    @classmethod
    def read(cls, path: Path) -> IvectorFolder:
        """A folder that Kaldi's ``extract_ivectors_online.sh`` made.

        Raises:
            DataError: the folder or a file in it is missing.
            FormatError: the period is no number of frames.
        """
        for name in (_SCRIPT_NAME, _PERIOD_NAME):
            if not (path / name).is_file():
                raise DataError(f"{path} is no folder of online i-vectors: it has no {name}")
        text = _text(path / _PERIOD_NAME, 100)
        if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= _LONGEST_PERIOD:
            raise FormatError(str(path / _PERIOD_NAME), None, f"expected frames such as 10, found {text[:40]!r}")
        return cls(path, int(text))

    @property
    def rspecifier(self) -> str:
        """For ``--online-ivectors``."""
        return f"scp:{self.path / _SCRIPT_NAME}"

    @property
    def files(self) -> tuple[Path, ...]:
        """What results made with these i-vectors depend on, beside the archives."""
        names = (_SCRIPT_NAME, _PERIOD_NAME, IVECTOR_ID_NAME)
        return tuple(self.path / name for name in names if (self.path / name).is_file())


def write_ivector_folder(path: Path, info: ExtractionInfo, ivectors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes a folder as ``extract_ivectors_online.sh`` leaves it.

    Args:
        path: of the folder, which is made where it is missing.
        info: what the i-vectors were extracted by.
        ivectors: (utterance, (rows, dim) float32).

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made: {error.strerror or error}") from error
    # What tells of another extractor must not lie beside what an interrupted run leaves.
    (path / _SCRIPT_NAME).unlink(missing_ok=True)
    with matrix_writer(f"ark,scp:{path / _ARCHIVE_NAME},{path / _SCRIPT_NAME}") as writer:
        for utterance, rows in ivectors:
            writer.write(utterance, rows)
    for name, text in (
        (_PERIOD_NAME, str(info.options.ivector_period)),
        (IVECTOR_ID_NAME, ivector_id(info.folder) or ""),
    ):
        with atomic_write(path / name, "w") as stream:
            stream.write(f"{text}\n")


def ivector_id(folder: Path) -> str | None:
    """The id of the extractor that a folder belongs to; None where nothing tells it."""
    stated = folder / IVECTOR_ID_NAME
    if stated.is_file():
        return _text(stated, _LONGEST_ID) or None
    extractor = folder / _EXTRACTOR_NAME
    if not extractor.is_file():
        return None
    try:
        with extractor.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest()
    except OSError as error:
        raise DataError(f"{extractor}: cannot be read: {error.strerror or error}") from error


def check_ivectors(model_id: str | None, model: str, folder: Path) -> None:
    """Refuses i-vectors of another extractor; where an id is missing it warns, as Kaldi does.

    Args:
        model_id: of the extractor that the model was trained with, where it is known.
        model: where that id is from, for messages.
        folder: of the i-vectors.

    Raises:
        DataError: the ids differ.
    """
    found = ivector_id(folder)
    if model_id is None or found is None:
        lacking = " and ".join(where for where, known in ((model, model_id), (str(folder), found)) if known is None)
        _log.warning("no %s in %s: whether the i-vectors fit the model is not known", IVECTOR_ID_NAME, lacking)
    elif model_id != found:
        raise DataError(
            f"the i-vectors in {folder} are of the extractor {found[:80]!r}, and {model} was trained with those of "
            f"{model_id[:80]!r} ({IVECTOR_ID_NAME} in both): give i-vectors of the model's own extractor"
        )


def check_ivector_table(model_id: str | None, model: str, rspecifier: str) -> None:
    """Compares a table of i-vectors with a model, where it lies in a folder of i-vectors; otherwise as above."""
    filename = parse_rspecifier(rspecifier).filename
    if filename == "-" or filename.endswith("|"):
        return
    folder = Path(filename).parent
    if (folder / _PERIOD_NAME).is_file() or ivector_id(folder) is not None:
        check_ivectors(model_id, model, folder)


def find_ivectors(root: Path, data: str, model_dir: Path) -> IvectorFolder:
    """The i-vectors of a data folder among ``exp/nnet3*/ivectors_<data>``: those of the model's own extractor.

    Args:
        root: of the Kaldi recipe; ``Path()`` for the current folder.
        data: the data folder's name.
        model_dir: of the model.

    Raises:
        UsageError: there are none, or several among which nothing decides.
        DataError: all are of other extractors.
    """
    pattern = f"exp/nnet3*/ivectors_{glob.escape(data)}"
    found = [path for path in sorted(root.glob(pattern)) if (path / _SCRIPT_NAME).is_file()]
    if not found:
        raise UsageError(f"there are no i-vectors of {data}, {root / pattern}/{_SCRIPT_NAME}: name their folder")
    wanted = ivector_id(model_dir)
    ids = {path: ivector_id(path) for path in found}
    if wanted is None:
        fitting = found
    else:
        fitting = [path for path in found if ids[path] == wanted] or [path for path in found if ids[path] is None]
    if not fitting:
        raise DataError(
            f"no i-vectors of {data} are of the extractor that {model_dir} was trained with, {str(wanted)[:80]!r} in "
            f"its {IVECTOR_ID_NAME}; found {_listed(found, ids)}"
        )
    if len(fitting) > 1 and (ids[fitting[0]] is None or len({ids[path] for path in fitting}) > 1):
        raise UsageError(
            f"nothing tells which i-vectors of {data} fit {model_dir}, found {_listed(fitting, ids)}: name their folder"
        )
    check_ivectors(wanted, str(model_dir), fitting[0])
    return IvectorFolder.read(fitting[0])


def _listed(folders: Sequence[Path], ids: dict[Path, str | None]) -> str:
    named = ((path, ids[path]) for path in folders)
    return ", ".join(f"{path} ({'without an id' if known is None else repr(known[:80])})" for path, known in named)


def _text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(most).decode("utf-8", "replace").strip()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
