"""What tells files from others: their contents, or, of more than can be read again and again, a part of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.units import Bytes

# Of more than this, only sizes and the contents of some files count.
_READ: Bytes = 1 << 28


def update_with_file(digest: hashlib._Hash, path: Path) -> None:
    """Adds a file's content to a digest.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def update_with_files(digest: hashlib._Hash, paths: Sequence[Path], most: Bytes = _READ) -> None:
    """Adds many files to a digest: their sizes, and the contents of all, or of as many as are about ``most`` bytes.

    Args:
        digest: which is changed.
        paths: of the files; some are those at equal distances in this order.
        most: bytes that are read.

    Raises:
        DataError: one cannot be read.
    """
    try:
        sizes = [path.stat().st_size for path in paths]
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror or error}") from error
    digest.update(repr(sizes).encode())
    every = max(1, -(-sum(sizes) // most))
    for path in paths[::every]:
        update_with_file(digest, path)
