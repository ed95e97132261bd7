"""Vectors of indexes (n, t, x): which row of a matrix belongs to which sequence and frame.

The binary form is packed: a byte for a step in time of less than 125 frames within one sequence, 16 bytes for
everything else. Source: ``ReadIndexVector`` and ``WriteIndexVector`` in ``src/nnet3/nnet-common.cc``.
"""

import numpy as np

from kaldi_quant.kaldi.reader import BinaryReader, Reader
from kaldi_quant.kaldi.writer import BinaryWriter, Writer

# Steps of this size and above are written out.
_LONG_STEP = 125
_FULL_INDEX = 127
_RECORD = np.dtype([("mark", "i1")] + [field for name in "ntx" for field in ((f"{name}_width", "i1"), (name, "<i4"))])
# How far a run of packed indexes is looked ahead at once.
_LOOK_AHEAD = 4096


def read_index_vector(reader: Reader) -> np.ndarray:
    """Reads a vector of indexes: (size, 3) int32, the columns being n, t and x.

    Raises:
        FormatError: the file holds something else, or ends too early.
    """
    begin = reader.position
    reader.expect("<I1V>")
    size = reader.count("indexes")
    if isinstance(reader, BinaryReader) and 0 < size < _LOOK_AHEAD:
        # Nearly all vectors are of one sequence of successive frames.
        plain = short_steps(reader.data[reader.position : reader.position + size])
        if plain is not None and len(plain) == size:
            reader.position += size
            return plain
    indexes = np.zeros((size, 3), np.int64)
    if isinstance(reader, BinaryReader):
        filled = 0
        while filled < size:
            before = indexes[filled - 1] if filled else np.zeros(3, np.int64)
            run = _read_run(reader, size - filled, before)
            indexes[filled : filled + len(run)] = run
            filled += len(run)
    else:
        for index in indexes:
            reader.expect("<I1>")
            index[:] = reader.int32(), reader.int32(), reader.int32()
    if size and not (indexes.min() >= -(2**31) and indexes.max() < 2**31):
        reader.fail("a time among the indexes is beyond 32 bits", begin)
    return indexes.astype(np.int32)


def short_steps(data: bytes) -> np.ndarray | None:
    """The indexes of one sequence that bytes stand for, (bytes, 3) int32; None where one is no short step."""
    steps = np.frombuffer(data, np.int8)
    if not len(steps) or steps.max() >= _LONG_STEP or steps.min() <= -_LONG_STEP:
        return None
    indexes = np.zeros((len(steps), 3), np.int32)
    indexes[:, 1] = steps.cumsum(dtype=np.int32)
    return indexes


def _read_run(reader: BinaryReader, most: int, before: np.ndarray) -> np.ndarray:
    """Reads the packed indexes up to the next one of another kind, at least one: (run, 3) int64."""
    number = min(most, _LOOK_AHEAD)
    steps = np.frombuffer(reader.data, np.int8, min(number, len(reader.data) - reader.position), reader.position)
    short = np.abs(steps.astype(np.int16)) < _LONG_STEP
    run = len(short) if short.all() else int(np.argmin(short))
    if run:
        reader.position += run
        indexes = np.tile(before, (run, 1))
        indexes[:, 1] += np.cumsum(steps[:run], dtype=np.int64)
        return indexes
    if not len(steps):
        reader.fail("the file ends inside a vector of indexes")
    if steps[0] != _FULL_INDEX:
        reader.fail(f"expected an index, found the byte {int(steps[0]) & 255}")
    number = min(number, (len(reader.data) - reader.position) // _RECORD.itemsize)
    records = np.frombuffer(reader.data, _RECORD, number, reader.position)
    full = records["mark"] == _FULL_INDEX
    for name in ("n_width", "t_width", "x_width"):
        full &= records[name] == 4
    run = number if full.all() else int(np.argmin(full))
    if not run:
        reader.fail("expected three integers of 4 bytes, found something else or the end of the file")
    reader.position += run * _RECORD.itemsize
    return np.stack([records[name][:run] for name in ("n", "t", "x")], 1).astype(np.int64)


def write_index_vector(writer: Writer, indexes: np.ndarray) -> None:
    """Writes a vector of indexes, (size, 3), in the writer's form."""
    writer.token("<I1V>")
    writer.int32(len(indexes))
    if not isinstance(writer, BinaryWriter):
        for index in indexes.tolist():
            writer.token("<I1>")
            for value in index:
                writer.int32(value)
        return
    steps = np.diff(indexes.astype(np.int64), axis=0, prepend=np.zeros((1, 3), np.int64))
    short = (steps[:, 0] == 0) & (steps[:, 2] == 0) & (np.abs(steps[:, 1]) < _LONG_STEP)
    ends = np.cumsum(np.where(short, 1, _RECORD.itemsize))
    packed = np.empty(ends[-1] if len(ends) else 0, np.uint8)
    packed[ends[short] - 1] = steps[short, 1].astype(np.int8).view(np.uint8)
    records = np.empty(int(np.sum(~short)), _RECORD)
    records["mark"] = _FULL_INDEX
    for column, name in enumerate("ntx"):
        records[f"{name}_width"], records[name] = 4, indexes[~short, column]
    places = ends[~short, None] + np.arange(-_RECORD.itemsize, 0)
    packed[places] = records.view(np.uint8).reshape(-1, _RECORD.itemsize)
    writer.raw(packed.tobytes())
