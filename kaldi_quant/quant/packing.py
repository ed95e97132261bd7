"""Integers of any width, packed without a gap: three bits take three bits.

The bits of an integer follow those of the one before it, the lowest first, in a stream of bytes whose lowest bit is the
first. Eight integers fill as many bytes as they have bits, so that columns of every eighth integer are packed at once.
"""

from collections.abc import Iterator

import numpy as np

from kaldi_quant.units import Bits

# So many integers fill whole bytes, whatever their width.
_GROUP = 8


def packed_bytes(count: int, bits: Bits) -> int:
    """The bytes that ``count`` integers of a width take."""
    return -(-count * bits // 8)


def pack(integers: np.ndarray, bits: Bits) -> np.ndarray:
    """Packs integers.

    Args:
        integers: any shape, of an integer type, in 0..2^bits-1; packed row by row.
        bits: the width, 1 to 16.

    Returns:
        (packed_bytes,) uint8.

    Example:
        >>> pack(np.array([1, 2, 3]), bits=3)
        array([209,   0], dtype=uint8)
    """
    flat = integers.reshape(-1)
    groups = np.zeros((-(-flat.size // _GROUP), _GROUP), np.uint32)
    groups.reshape(-1)[: flat.size] = flat
    packed = np.zeros((len(groups), bits), np.uint8)
    for column, first, shift, width in _columns(bits):
        spread = groups[:, column].astype("<u8") << np.uint64(shift)
        packed[:, first : first + width] |= spread.view(np.uint8).reshape(-1, 8)[:, :width]
    return packed.reshape(-1)[: packed_bytes(flat.size, bits)]


def unpack(packed: np.ndarray, bits: Bits, count: int) -> np.ndarray:
    """Unpacks what ``pack`` made.

    Args:
        packed: (packed_bytes,) uint8.
        bits: the width, 1 to 16.
        count: how many integers there are.

    Returns:
        (count,) int32.
    """
    groups = np.zeros((-(-count // _GROUP), bits), np.uint8)
    groups.reshape(-1)[: packed.size] = packed
    integers = np.empty((len(groups), _GROUP), np.int32)
    mask = np.uint64((1 << bits) - 1)
    for column, first, shift, width in _columns(bits):
        spread = np.zeros((len(groups), 8), np.uint8)
        spread[:, :width] = groups[:, first : first + width]
        integers[:, column] = (spread.view("<u8")[:, 0] >> np.uint64(shift)) & mask
    return integers.reshape(-1)[:count]


def _columns(bits: Bits) -> Iterator[tuple[int, int, int, int]]:
    """For each integer of a group: its place, its first byte, the bits before it there, the bytes it touches."""
    for column in range(_GROUP):
        first, shift = divmod(column * bits, 8)
        yield column, first, shift, packed_bytes(shift + bits, 1)
