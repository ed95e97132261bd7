"""Cells of the table of keyword networks: a folder for each network and method, with all that was made and measured.

``exp/<network>/<method>/`` holds ``quantized.safetensors`` or a float checkpoint, ``network.onnx`` (any batch),
``network_fixed.onnx`` (one recording), ``scores.json`` (a value for each recording), and ``cell.json``: what made it.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import FormatError
from kaldi_quant.formats.names import RECORD_NAME
from kaldi_quant.frontends.methods import FLOAT, PTQ
from kaldi_quant.json_file import read_object
from kaldi_quant.made import Made, Sources, make
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.score_file import FILE_NAME as SCORES_NAME
from kaldi_quant.metrics.score_file import read_score, write_score
from kaldi_quant.train.checkpoint import FILE_NAME as CHECKPOINT_NAME
from kaldi_quant.units import Bytes

_log = logging.getLogger(__name__)
CELL_NAME = "cell.json"
#: The method of a network that is not quantized.
FLOAT_METHOD = "float"
_FORMAT = 1
_BYTES_OF_FLOAT = 4


def cell_name(method: str, preset: str) -> str:
    """The name of a cell's folder.

    Args:
        method: of ``methods``.
        preset: of the quantization; empty where there is none.

    Example:
        >>> cell_name("ptq", "w8a8"), cell_name("awq", "awq-w4"), cell_name("torch", "")
        ('ptq-w8a8', 'awq-w4', 'torch-ptq')
    """
    if method == FLOAT:
        return FLOAT_METHOD
    if not preset:
        return f"{method}-{PTQ}"
    return preset if preset.startswith(method) else f"{method}-{preset}"


@dataclass(frozen=True)
class Cell:
    """What a folder holds.

    Args:
        network: its name, such as m5.
        method: how it was made, such as qat-w4a8; the folder's name.
        preset: of the quantization; empty where there is none.
        command: that makes it again.
        file: the model in the folder.
        bytes: of that file.
        score: of the test data, in the metric's unit.
        metric: its name.
        details: what else is to be told, as JSON has it.
    """

    network: str
    method: str
    preset: str
    command: str
    file: str
    bytes: Bytes
    score: float
    metric: str
    details: dict[str, Any]


@dataclass(frozen=True)
class Work:
    """What a cell's maker leaves in its folder.

    Args:
        file: the model.
        score: of the test data.
        parameters: of the float network.
        others: further files.
        details: what else is to be told, as JSON has it.
    """

    file: Path
    score: Score
    parameters: int
    others: Sequence[Path] = ()
    details: dict[str, Any] | None = None


def make_cell(folder: Path, preset: str, command: str, sources: Sources, work: Callable[[Path], Work]) -> bool:
    """Makes a cell, unless it is there and nothing that made it has changed.

    Args:
        folder: ``exp/<network>/<method>``.
        preset: of the quantization; empty where there is none.
        command: that makes it.
        sources: what it depends on.
        work: makes it in the folder.

    Returns:
        whether it was made.

    Raises:
        KaldiQuantError: what ``work`` raises; or the folder cannot be written.
    """

    made = Made(folder / CELL_NAME, sources, str(folder))

    def run() -> Sequence[Path]:
        _log.info("making %s", folder)
        left = work(folder)
        cell = Cell(
            folder.parent.name,
            folder.name,
            preset,
            command,
            left.file.name,
            left.file.stat().st_size,
            left.score.value,
            left.score.metric.name,
            left.details or {},
        )
        write_score(folder, left.score)
        for name, content in ((CELL_NAME, asdict(cell)), (RECORD_NAME, _record(cell, left.parameters))):
            with atomic_write(folder / name, "w") as stream:
                stream.write(json.dumps({"format": _FORMAT, **content}, indent=1) + "\n")
        _log.info("%s: %s, %d bytes", folder, left.score.metric.shown(cell.score), cell.bytes)
        return [left.file, folder / SCORES_NAME, folder / RECORD_NAME, *left.others]

    if not made.is_unfinished():
        # Of a training with other options: it cannot be gone on from.
        (folder / CHECKPOINT_NAME).unlink(missing_ok=True)
    return make(made, run, lambda text: _log.info("%s", text))


def _record(cell: Cell, parameters: int) -> dict[str, Any]:
    """What comparisons read of a model: ``kaldi-quant compare`` tells its size from it."""
    record: dict[str, Any] = {"model": cell.file, "command": shlex.split(cell.command)}
    record["float_bytes"] = parameters * _BYTES_OF_FLOAT
    if cell.method == FLOAT_METHOD:
        record["bits_per_weight"] = 8.0 * _BYTES_OF_FLOAT
    return record | ({"preset": cell.preset} if cell.preset else {})


def read_cell(folder: Path) -> tuple[Cell, Score]:
    """A cell, and its score for each recording.

    Raises:
        DataError, FormatError: a file of it is missing or broken.
    """
    path = folder / CELL_NAME
    try:
        found = read_object(path)
    except FileNotFoundError:
        raise FormatError(str(path), None, "there is no such file: expected a cell as run.sh makes it") from None
    found.expect_format(_FORMAT)
    texts = {key: found.text(key) for key in ("network", "method", "preset", "command", "file", "metric")}
    size, value, details = found.whole("bytes"), found.real("score"), found.inner("details").content
    cell = Cell(**texts, bytes=size, score=value, details=details)
    return cell, read_score(folder)


def cells_in(folder: Path) -> list[Path]:
    """The folders of all cells below one, sorted."""
    return sorted(path.parent for path in folder.glob(f"*/*/{CELL_NAME}"))


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"data": {"version": 1}}`` as ``data.version`` and 1; tuples as lists, as JSON has them."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
