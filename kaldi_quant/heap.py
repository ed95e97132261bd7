"""How the C library keeps memory that was freed."""

import ctypes
import sys


def give_back_freed_memory() -> None:
    """What was freed goes back to the system, also where it lies between what is used.

    Where values of many sizes come and go, and some of them stay, holes add up to more than what is used. Does nothing
    where the C library is not GNU's.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
