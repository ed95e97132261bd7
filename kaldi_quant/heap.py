"""How much memory the C library keeps that was freed."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kaldi_quant.units import Bytes

# More than temporary values of a batch take: these would be given back, and cleared by the system, again and again.
_MOST_GROWTH: Bytes = 7 << 27
# Settings of GNU's library, and what they end at by themselves where large tensors come and go.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL = {_MMAP_MAX: 1 << 16, _MMAP_THRESHOLD: 1 << 25, _TRIM_THRESHOLD: 1 << 26}
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: (1 << 31) - 1}


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Within it what is freed stays with the process, for the next of that size.

    Training asks for the same sizes in each minibatch. Of large tensors the memory would go back to the system every
    time, which has to clear it before it can be used again: up to a fifth of the time. Does nothing where the C library
    is not GNU's.
    """
    set_option = _function("mallopt")
    _set(set_option, _KEEPING)
    try:
        yield
    finally:
        _set(set_option, _USUAL)
        give_back_freed_memory()


def _set(set_option: Callable[[int, int], int] | None, options: dict[int, int]) -> None:
    if set_option is not None:
        for option, value in options.items():
            set_option(option, value)


def give_back_freed_memory() -> None:
    """What was freed goes back to the system, also where it lies between what is used.

    Where values of many sizes come and go, and some of them stay, holes add up to more than what is used. Does nothing
    where the C library is not GNU's.
    """
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    """A function of GNU's C library; None where the C library is another."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


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
