"""Checkpoints: what a killed training goes on from, to the same bits."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import torch

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, FormatError

FILE_NAME = "checkpoint.pt"
_FORMAT = 2


def write_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Writes a checkpoint, in the place of the last one only when it is whole.

    Args:
        path: of the file.
        state: tensors, numbers, strings, lists and dictionaries of them.

    Raises:
        DataError: the folder cannot be written, or the disk is full; the last checkpoint is then still there.
    """
    with atomic_write(path) as stream:
        try:
            torch.save({"format": _FORMAT, **state}, stream)
        except RuntimeError as error:
            # torch's own writer hides the errno of a full disk.
            raise DataError(f"cannot write {path}: {error}; is the disk full?") from error


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads a checkpoint; None where there is none. Nothing in it is executed.

    Raises:
        FormatError: the file is damaged, or of another version.
    """
    if not Path(path).exists():
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(str(path), None, f"cannot be read: {error.strerror or error}") from error
    return parse_checkpoint(content, path)


def parse_checkpoint(content: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint holds. Nothing in it is executed.

    Args:
        content: of the file.
        path: for messages.

    Raises:
        FormatError: the file is damaged, or of another version.
    """
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        struct.error,
        pickle.UnpicklingError,
    ) as error:
        reason = " ".join(str(error).split())[:120]
        raise FormatError(
            str(path), None, f"is not a training checkpoint ({reason}): delete it to start again"
        ) from error
    if not isinstance(state, dict) or state.pop("format", None) != _FORMAT:
        raise FormatError(str(path), None, "is a checkpoint of another version: delete it to start again")
    return state
