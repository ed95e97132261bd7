"""Keeps two runs from writing into one folder.

The lock is the kernel's (``flock``) on a file ``.lock`` in the folder. It goes with the process that holds it and with
the jobs that it has started (``held_locks``): after a killed run it is free as soon as nothing of that run can write.
The file names its holder, for the other's message.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
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
# Open lock files of the folders that this process holds: a recipe locks its folder, and so does each verb in it.
_held: dict[Path, int] = {}
# Jobs end soon after the process that has started them.
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.1


def held_locks() -> tuple[int, ...]:
    """The file descriptors of the locks that this process holds: jobs that it starts inherit them."""
    return tuple(_held.values())


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds a folder for the time of the block; it is made where missing.

    Raises:
        DataError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        handle = None if place in _held else os.open(place / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"cannot write the folder {folder}: {error.strerror or error}") from error
    if handle is None:
        yield
        return
    try:
        _acquire(handle, folder)
        _held[place] = handle
        yield
    finally:
        _held.pop(place, None)
        os.close(handle)


def _acquire(handle: int, folder: Path) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while not _is_locked(handle, folder):
        holder = os.pread(handle, 4096, 0).decode("utf-8", "replace").strip() or "another process"
        if not has_ended(holder):
            raise DataError(f"{folder} is in use by {holder}: wait for it to end, or give another folder")
        if time.monotonic() > end:
            raise DataError(
                f"{folder} is in use by jobs of {holder}, which has ended itself: wait for them to end, or give "
                "another folder"
            )
        time.sleep(_POLL_SECONDS)
    command = shlex.join(sys.argv)
    text = f"{this_process()} since {time.ctime()} ({command[:500]})\n"
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode("utf-8", "replace"), 0)


def _is_locked(handle: int, folder: Path) -> bool:
    """Locks the file; False where another process has locked it. A file system without locks is warned of."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        _log.warning("%s cannot be locked (%s): do not run two jobs into it", folder, error.strerror)
    return True


def this_process() -> str:
    """Names this process among those of all machines."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def has_ended(process: str) -> bool:
    """Whether a process was one of this machine and is gone.

    Args:
        process: as ``this_process`` names it; what comes after it does not matter.
    """
    named = re.match(r"process (\d+) on (\S+)", process)
    if named is None or named[2] != socket.gethostname():
        return False
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
