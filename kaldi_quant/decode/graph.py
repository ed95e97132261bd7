"""A decoding graph in memory, as kaldifst has it: copies of the process that has loaded it share it.

In kaldifst's memory, a graph of type ``vector`` takes more than twice the size of its file, one of type ``const`` just
that, and search in it is faster. So the one is read as the other, from a pipe that a copy of this process writes to.
"""

import os
from typing import Any

import kaldifst

from kaldi_quant.errors import DataError
from kaldi_quant.forked import start_forked, why_not_fork
from kaldi_quant.kaldi.fst_file import FstFile
from kaldi_quant.kaldi.fst_writer import const_form


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
