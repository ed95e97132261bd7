"""FSTs of type ``const`` as bytes.

Source: ``const-fst.h`` of OpenFST.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.kaldi.fst import FST_MAGIC, Fst
from kaldi_quant.kaldi.fst_file import CONST_STATE, FstFile, FstPiece

_EXPANDED = 1  # kExpanded of OpenFST: all that is said of a const FST's properties


def const_form(file: FstFile) -> Iterator[bytes]:
    """The bytes of an FST of type ``const`` with the states and arcs of another, which is read in pieces."""
    return const_bytes(file.header.start, file.num_states, file.num_arcs, file.pieces)


def write_fst(path: str | Path, fst: Fst) -> None:
    """Writes an FST of type ``const``.

    Raises:
        DataError: the file cannot be written.
    """
    piece = FstPiece(0, fst.final, fst.arc_offsets, fst.arcs)
    with atomic_write(Path(path)) as stream:
        for part in const_bytes(fst.start, fst.num_states, len(fst.arcs), lambda: iter([piece])):
            stream.write(part)


def const_bytes(
    start: int, num_states: int, num_arcs: int, pieces: Callable[[], Iterator[FstPiece]]
) -> Iterator[bytes]:
    """The bytes of an FST of type ``const``.

    Args:
        start: its start state.
        num_states, num_arcs: of all pieces.
        pieces: all states in their order; is called twice.
    """
    names = b"".join(struct.pack("<i", len(name)) + name for name in (b"const", b"standard"))
    sizes = (start, num_states, num_arcs)
    yield struct.pack("<i", FST_MAGIC) + names + struct.pack("<iiQqqq", 2, 0, _EXPANDED, *sizes)
    position = 0
    for piece in pieces():
        yield _const_states(piece, position).tobytes()
        position += len(piece.arcs)
    for piece in pieces():
        yield piece.arcs.tobytes()


def _const_states(piece: FstPiece, position: int) -> np.ndarray:
    """The states of a piece of which the first arc has a number."""
    states = np.zeros(len(piece.final), CONST_STATE)
    states["final"], states["arcs"] = piece.final, np.diff(piece.arc_offsets)
    states["position"] = position + piece.arc_offsets[:-1]
    states["input_epsilons"] = piece.count("ilabel", 0)
    states["output_epsilons"] = piece.count("olabel", 0)
    return states
