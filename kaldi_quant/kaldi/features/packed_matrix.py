"""Matrices as JSON holds them: their shape, and their bytes in base64."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from kaldi_quant.errors import FormatError

_LARGEST = 1 << 20


def pack(matrix: np.ndarray) -> dict[str, Any]:
    """A matrix, in single precision where that loses nothing."""
    single = matrix.astype(np.float32)
    exact = np.array_equal(single.astype(np.float64), matrix)
    kind, values = ("float32", single.astype("<f4")) if exact else ("float64", matrix.astype("<f8"))
    rows, columns = matrix.shape
    return {"rows": rows, "columns": columns, kind: base64.b64encode(values.tobytes()).decode("ascii")}


def unpack(content: Any, where: str) -> np.ndarray:
    """The matrix that ``pack`` packed, (rows, columns) float64.

    Raises:
        FormatError: it was changed.
    """
    try:
        rows, columns = int(content["rows"]), int(content["columns"])
        kind = "<f4" if "float32" in content else "<f8"
        data = base64.b64decode(content["float32" if kind == "<f4" else "float64"], validate=True)
        values = np.frombuffer(data, kind).astype(np.float64)
        if not (0 < rows <= _LARGEST and 0 < columns <= _LARGEST and values.size == rows * columns):
            raise ValueError
    except (TypeError, KeyError, ValueError, binascii.Error):
        raise FormatError(where, None, "expected a matrix: rows, columns and its values in base64") from None
    return values.reshape(rows, columns)
