"""How much memory the C library keeps that was freed."""

import ctypes
import os
import sys
from pathlib import Path

from kaldi_quant.units import Bytes

# Temporary values of a batch may take a part of this themselves.
_MOST_GROWTH: Bytes = 1 << 29


def give_back_freed_memory() -> None:
    """What was freed goes back to the system, also where it lies between what is used.

    Where values of many sizes come and go, and some of them stay, holes add up to more than what is used. Does nothing
    where the C library is not GNU's.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


class Growth:
    """Looks now and then whether the process has grown, and gives back what was freed if it has.

    To give it back costs time: the system has to clear it before it can be used again.
    """

    def __init__(self) -> None:
        self._before = _resident()

    def check(self) -> None:
        """Gives back what was freed if there may be much of it."""
        now = _resident()
        if now - self._before > _MOST_GROWTH:
            give_back_freed_memory()
            self._before = _resident()
        else:
            # What was given back elsewhere counts, too.
            self._before = min(self._before, now)


def _resident() -> Bytes:
    """The process's own memory; 0 where the system does not tell."""
    try:
        _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split())
    except OSError:
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
