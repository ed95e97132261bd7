"""Networks as files hold them, ready to run: a float checkpoint, an integer model, an ONNX file; or a cell's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.backends.onnx.reading import read_whole_model
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.cells import CELL_NAME, read_cell
from kaldi_quant.frontends.onnx_files import DYNAMIC_NAME
from kaldi_quant.frontends.training.networks import FloatCheckpoint

_ENDINGS = {".onnx", ".pth", ".pt"}
_WHAT = "expected an integer model, or a file that ends with"


@dataclass(frozen=True)
class OpenedNetwork:
    """A network that can be run.

    Args:
        path: of its file.
        name: of its registry.
        run: gives its output for its input.
        samples: the length of the last axis of the input, where the file has but one; else None.
    """

    path: Path
    name: str
    run: Callable[[Tensor], Tensor]
    samples: int | None = None


def file_of(what: str | Path) -> Path:
    """A network's file: of a cell's folder the one that runs fastest.

    Raises:
        FormatError: a folder holds none.
    """
    path = Path(what)
    if not path.is_dir():
        return path
    for name in (DYNAMIC_NAME, ARTEFACT_NAME, *(file.name for file in sorted(path.glob("*.pt*")))):
        if (path / name).is_file():
            return path / name
    raise FormatError(str(what), None, f"expected a cell with {DYNAMIC_NAME} or {ARTEFACT_NAME}")


def open_network(
    path: Path, name: str, record_key: str, read: Callable[[Path], FloatCheckpoint], known: str
) -> OpenedNetwork:
    """Opens a file.

    Args:
        path: of the file.
        name: of the network, where neither the file nor a ``cell.json`` beside it tells; else it may be empty.
        record_key: under it the record of an integer model names its network.
        read: reads a float checkpoint.
        known: the names of networks, for messages.

    Raises:
        FormatError: the file is broken, or none of these.
        UsageError: it is not known which network it is.
    """
    found, run, samples = _opened(path, record_key, read)
    name = name or found or _beside(path)
    if not name:
        raise UsageError(
            f"{path}: neither it nor a {CELL_NAME} names its network; say so, as in {path}@NETWORK: {known}"
        )
    return OpenedNetwork(path, name, run, samples)


def _beside(path: Path) -> str:
    return read_cell(path.parent)[0].network if (path.parent / CELL_NAME).is_file() else ""


def _opened(
    path: Path, record_key: str, read: Callable[[Path], FloatCheckpoint]
) -> tuple[str, Callable[[Tensor], Tensor], int | None]:
    """The network's name, empty where the file does not tell, what runs it, and its length."""
    if is_artefact(str(path)):
        found = files.load(path)
        assert isinstance(found, Quantized)
        record: Any = (found.record or {}).get(record_key, {})
        return str(record.get("network", "")), found.network.model(), None
    if path.suffix not in _ENDINGS:
        raise FormatError(str(path), None, f"{_WHAT} {', '.join(sorted(_ENDINGS))}")
    if path.suffix != ".onnx":
        checkpoint = read(path)
        return checkpoint.name, checkpoint.network.eval(), None
    return "", *_onnx(path)


def _onnx(path: Path) -> tuple[Callable[[Tensor], Tensor], int | None]:
    session = open_session(read_whole_model(path))
    given = session.get_inputs()[0]

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {given.name: inputs.contiguous().numpy()})[0])

    length = given.shape[-1] if given.shape else None
    return run, length if isinstance(length, int) else None
