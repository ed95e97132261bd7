"""A decoding graph in memory, as kaldifst has it: copies of the process that has loaded it share it.

In kaldifst's memory, a graph of type ``vector`` takes more than twice the size of its file, one of type ``const`` just
that, and search in it is faster. So the one is read as the other, from a pipe that a copy of this process writes to.
"""

import os
import struct
from collections.abc import Iterator
from typing import Any

import kaldifst
import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.forked import start_forked, why_not_fork
from kaldi_quant.kaldi.fst import FST_MAGIC
from kaldi_quant.kaldi.fst_file import CONST_STATE, FstFile, FstPiece

_EXPANDED = 1  # kExpanded of OpenFST: all that is said of a const FST's properties


def load_graph(path: str) -> Any:
    """Loads a checked ``HCLG.fst``.

    Raises:
        DataError: kaldifst does not read it.
    """
    file = FstFile(path)
    if file.header.fst_type == "const":
        graph = kaldifst.StdConstFst.read(path)
    elif why_not_fork():
        graph = kaldifst.StdVectorFst.read(path)
    else:
        graph = _read_as_const(file)
    if graph is None:
        raise DataError(f"{path}: kaldifst cannot read it")
    return graph


def _read_as_const(file: FstFile) -> Any:
    reads, writes = os.pipe()
    try:
        writer = start_forked(lambda: _write(file, reads, writes))
        os.close(writes)
        graph = kaldifst.StdConstFst.read(f"/dev/fd/{reads}")
    finally:
        os.close(reads)
    return None if writer.wait() else graph


def _write(file: FstFile, reads: int, writes: int) -> None:
    os.close(reads)
    with os.fdopen(writes, "wb") as stream:
        for part in const_form(file):
            stream.write(part)


def const_form(file: FstFile) -> Iterator[bytes]:
    """The bytes of an FST of type ``const`` with the states and arcs of another, which is read in pieces."""
    names = b"".join(struct.pack("<i", len(name)) + name for name in (b"const", b"standard"))
    sizes = (file.header.start, file.num_states, file.num_arcs)
    yield struct.pack("<i", FST_MAGIC) + names + struct.pack("<iiQqqq", 2, 0, _EXPANDED, *sizes)
    position = 0
    for piece in file.pieces():
        yield _const_states(piece, position).tobytes()
        position += len(piece.arcs)
    for piece in file.pieces():
        yield piece.arcs.tobytes()


def _const_states(piece: FstPiece, position: int) -> np.ndarray:
    """The states of a piece of which the first arc has a number."""
    states = np.zeros(len(piece.final), CONST_STATE)
    states["final"], states["arcs"] = piece.final, np.diff(piece.arc_offsets)
    states["position"] = position + piece.arc_offsets[:-1]
    states["input_epsilons"] = piece.count("ilabel", 0)
    states["output_epsilons"] = piece.count("olabel", 0)
    return states
