"""Cells of a table of networks: a folder for each network and method, with all that was made and measured.

``exp/<network>/<method>/`` holds ``quantized.safetensors`` or a float checkpoint, ``network.onnx`` (any batch),
``network_fixed.onnx`` (one recording), ``scores.json`` (a value for each recording), and ``cell.json``: what made it.
"""

from __future__ import annotations

import json
import logging
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.formats.names import RECORD_NAME
from kaldi_quant.frontends.methods import FLOAT, PTQ
from kaldi_quant.frontends.onnx_files import DYNAMIC_NAME
from kaldi_quant.frontends.training.networks import FloatCheckpoint
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


class Digested(Protocol):
    """Data of a split."""

    def digest(self) -> str:
        """What tells them from others."""


class Splits(Protocol):
    """What cells are made from and measured on."""

    @property
    def train(self) -> Digested:
        """What networks are trained on."""

    @property
    def test(self) -> Digested:
        """What is scored once."""


@dataclass(frozen=True)
class NetworkCells(ABC):
    """What makes the cells of one network that was trained in float.

    Args:
        folder: for them, ``exp/<seed>``.
        trained: the float network.
        checkpoint: its file.
        command: that makes a cell, for records.
        data: what cells are made from and measured on.
        options: a dataclass: how cells are made.
    """

    folder: Path
    trained: FloatCheckpoint
    checkpoint: Path
    command: str
    data: Splits
    options: Any

    @property
    def network(self) -> str:
        """Its name."""
        return self.trained.name

    @abstractmethod
    def names(self) -> list[str]:
        """Of all cells, the float one first."""

    @abstractmethod
    def work(self, name: str, folder: Path) -> Work:
        """Makes one in its folder."""

    def reads_float_onnx(self, name: str) -> bool:
        """Whether a cell is made of the float cell's ONNX file."""
        return False

    def is_preset(self, name: str) -> bool:
        """Whether the name of a cell is that of a scheme."""
        return name != FLOAT_METHOD and not self.reads_float_onnx(name)

    @property
    def float_onnx(self) -> Path:
        """The float cell's ONNX file."""
        return self.folder / self.network / FLOAT_METHOD / DYNAMIC_NAME

    def make(self, name: str) -> Path:
        """Makes a cell, unless it is there and nothing that made it has changed; returns its folder.

        Raises:
            KaldiQuantError: there is no such cell, or data and network do not fit each other.
        """
        if name not in self.names():
            raise UsageError(f"{self.network} has no cell {name!r}, expected one of {', '.join(self.names())}")
        read = {"the float network": [self.checkpoint]}
        if self.reads_float_onnx(name):
            if not self.float_onnx.is_file():
                raise DataError(f"there is no {self.float_onnx}, of which {name} is made: make the cell float first")
            read["its ONNX file"] = [self.float_onnx]
        digests = {"train": self.data.train.digest(), "test": self.data.test.digest()}
        sources = Sources({**digests, **dict(flat(asdict(self.options)))}, read)
        place = self.folder / self.network / name
        preset = name if self.is_preset(name) else ""
        make_cell(place, preset, self.command, sources, lambda folder: self.work(name, folder))
        return place


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
