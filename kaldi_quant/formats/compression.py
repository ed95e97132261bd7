"""Bytes compressed by zlib within a file, and their decompression where the file may be hostile."""

from __future__ import annotations

import zlib

import numpy as np

from kaldi_quant.errors import FormatError

_LEVEL = 9
# What compressed data may become, so that a hostile file does not fill the memory: far more than any description of a
# network; floats hardly shrink.
LARGEST = 1 << 24
_LARGEST_RATIO = 8


def compressed(data: bytes) -> np.ndarray:
    """Bytes compressed by zlib: (n,) uint8."""
    return np.frombuffer(zlib.compress(data, _LEVEL), np.uint8)


def decompressed(packed: np.ndarray, path: str) -> bytes:
    """What ``compressed`` was given.

    Args:
        packed: (n,) uint8.
        path: of what, for messages.

    Raises:
        FormatError: the bytes are not whole, or become more than is believable.
    """
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(packed.tobytes(), LARGEST + _LARGEST_RATIO * packed.size)
    except zlib.error as error:
        raise FormatError(path, None, f"it cannot be decompressed: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise FormatError(path, None, "it is not one whole compressed stream of a believable size")
    return data
