"""Files appear under their final name only when they are complete.

A killed job leaves at most a temporary file, never a half-written result that a rerun would take for a whole one.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    if final.exists() and not final.is_file():
        # A device or a named pipe: there is nothing that could be renamed onto it.
        try:
            with _open(final, mode) as stream:
                yield stream
        except OSError as error:
            raise DataError(f"cannot write {final}: {error.strerror or error}") from error
        return
    # Its name is known before it is made, so that whatever comes between leaves nothing.
    temporary = final.parent / f".{final.name}.{secrets.token_hex(4)}.tmp"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _open(temporary, mode.replace("w", "x")) as stream:
            yield stream
        os.replace(temporary, final)
    except OSError as error:
        raise DataError(f"cannot write {final}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _open(path: Path, mode: str) -> IO:
    encoding, errors = (None, None) if "b" in mode else ("utf-8", "surrogateescape")
    return open(path, mode, encoding=encoding, errors=errors)
