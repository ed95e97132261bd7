"""Pictures of arrays as PNG, with the colours of a map."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from kaldi_quant.report.pages.plot_style import require_matplotlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colours that grow lighter evenly, also in grey and for colour-blind eyes.
_COLOURS = "magma"
_STEPS, _PALETTE, _BITS = 256, 3, 8


def picture(values: np.ndarray[Any, Any], low: float, high: float) -> bytes:
    """A PNG with a pixel for each value.

    Args:
        values: (rows, columns), the first row on top.
        low, high: values of the darkest and the lightest colour.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib import colormaps

    shades = np.rint(np.clip((values - low) / (high - low), 0, 1) * (_STEPS - 1)).astype(np.uint8)
    palette = np.rint(255 * colormaps[_COLOURS](np.arange(_STEPS))[:, :3]).astype(np.uint8)
    # Each row begins with the number of its filter: none.
    rows = np.concatenate([np.zeros((len(shades), 1), np.uint8), shades], axis=1)
    header = struct.pack(">IIBBBBB", shades.shape[1], shades.shape[0], _BITS, _PALETTE, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(rows.tobytes(), 9)))
    return _SIGNATURE + b"".join(_chunk(*part) for part in (*parts, (b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
