"""Keeps two runs from writing into one folder.

The lock is the kernel's (``flock``) on a file ``.lock`` in the folder, and goes with the process that holds it: after a
killed run it is free. The file names its holder, for the other's message.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaldi_quant.errors import DataError

_log = logging.getLogger(__name__)
_NAME = ".lock"
# Folders that this process holds: a recipe locks its folder, and so does each verb that it calls.
_held: set[Path] = set()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds a folder for the time of the block; it is made where missing.

    Raises:
        DataError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        if place in _held:
            yield
            return
        handle = os.open(place / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"cannot write the folder {folder}: {error.strerror or error}") from error
    try:
        _acquire(handle, folder)
        _held.add(place)
        yield
    finally:
        _held.discard(place)
        os.close(handle)


def _acquire(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            _log.warning("%s cannot be locked (%s): do not run two jobs into it", folder, error.strerror)
            return
        holder = os.pread(handle, 4096, 0).decode("utf-8", "replace").strip() or "another process"
        raise DataError(f"{folder} is in use by {holder}: wait for it to end, or give another folder") from error
    command = shlex.join(sys.argv)
    text = f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()} ({command[:500]})\n"
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode("utf-8", "replace"), 0)
