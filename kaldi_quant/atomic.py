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
    # Its name is known before it is made, so that whatever comes between leaves nothing.
    temporary = final.parent / f".{final.name}.{secrets.token_hex(4)}.tmp"
    encoding, errors = (None, None) if "b" in mode else ("utf-8", "surrogateescape")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode.replace("w", "x"), encoding=encoding, errors=errors) as stream:
            yield stream
        os.replace(temporary, final)
    except OSError as error:
        raise DataError(f"cannot write {final}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
