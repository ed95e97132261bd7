"""How the C library keeps memory that was freed."""

import ctypes
import sys

# malloc.h of the GNU C library, and the size from which on a block of memory is the system's again when it is freed.
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 20


def give_back_large_blocks() -> None:
    """Large blocks of memory go back to the system as soon as they are freed, from now on.

    By default blocks of up to 32 MB stay with the process once some of them were freed. Where values of many sizes come
    and go for a long time, what lies between those that stay adds up to several times their size. Does nothing where
    the C library is not GNU's.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
