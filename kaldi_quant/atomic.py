"""Files appear under their final name only when they are complete.

A killed job leaves at most a temporary file, never a half-written result that a rerun would take for a whole one.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kaldi_quant.errors import DataError


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO]:
    """Opens a temporary file beside ``path`` and renames it to ``path`` when the block ends without an exception.

    Args:
        path: the final name; its folder is created where missing.
        mode: ``"wb"`` for bytes, ``"w"`` for UTF-8 text; bytes that were no UTF-8 when read are written as they were.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    final = Path(path)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent)
    except OSError as error:
        raise DataError(f"cannot write {final}: {error.strerror or error}") from error
    try:
        encoding, errors = (None, None) if "b" in mode else ("utf-8", "surrogateescape")
        with os.fdopen(handle, mode, encoding=encoding, errors=errors) as stream:
            yield stream
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, final)
    except OSError as error:
        raise DataError(f"cannot write {final}: {error.strerror or error}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _umask() -> int:
    """The process's umask: mkstemp creates private files, and results are for everyone whom the umask admits."""
    current = os.umask(0)
    os.umask(current)
    return current
