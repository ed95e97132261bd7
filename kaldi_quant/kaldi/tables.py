"""Tables of matrices and vectors: Kaldi's ``ark`` and ``scp``, read and written.

An rspecifier says where a table comes from: ``scp:feats.scp``, ``ark:feats.ark``, ``ark:-``,
``ark,s,cs:copy-feats … |``; a wspecifier says where it goes: ``ark:out.ark``, ``ark,t:-``,
``ark,scp:out.ark,out.scp``. Archives may be gzip files. Where relative paths in an scp are looked for stands in
``script_file``.

The matrices are unpacked here and not by kaldiio, for three reasons: kaldiio runs pickles that an archive may hold, it
allocates what a corrupt header asks for, and it unpacks compressed matrices to values that differ from Kaldi's by up to
4e-5.

Source: ``src/util/kaldi-table.h`` and ``kaldi-table-inl.h``.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from kaldi_quant.bad_utterances import FewWarnings
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError
from kaldi_quant.kaldi.script_file import ScriptEntry, read_script
from kaldi_quant.kaldi.script_streams import ScriptStreams
from kaldi_quant.kaldi.specifiers import Rspecifier, parse_rspecifier
from kaldi_quant.kaldi.streams import ByteStream, open_stream
from kaldi_quant.kaldi.table_entry import read_entry, read_key
from kaldi_quant.kaldi.table_writer import TableWriter, matrix_writer

__all__ = [
    "OnBad",
    "RandomAccessMatrices",
    "TableWriter",
    "matrix_writer",
    "read_matrices",
    "read_table",
    "read_vectors",
    "thinned",
]

# Called with an utterance and the reason why it is left out.
OnBad = Callable[[str, KaldiQuantError], None]
Value = TypeVar("Value")
ReadEntry = Callable[[ByteStream, str, ScriptEntry | None], Value]

_log = logging.getLogger(__name__)


def read_matrices(
    rspecifier: str, allow_pipes: bool = False, on_bad: OnBad | None = None, most: int = 0
) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a table of matrices in its own order, one at a time.

    Args:
        rspecifier: such as ``scp:data/test/feats.scp``.
        allow_pipes: whether commands in the rspecifier and in the scp run.
        on_bad: is called for each entry of an scp that cannot be read, which is then left out; None makes such an entry
            an error, unless the rspecifier has the option ``p``. Nothing can be read behind a broken entry of an
            archive, which therefore is an error in any case.
        most: how many entries are read at most, evenly chosen; 0 for all. Of an archive, whose number of entries is not
            known beforehand, at least half as many, and all of it is gone through.

    Yields:
        (utterance, matrix), matrix: (frames, dim) float32, (0, 0) where the file holds an empty one.

    Raises:
        UsageError: the rspecifier is malformed, or names a command and ``allow_pipes`` is False.
        FormatError, DataError: a file is missing, truncated or malformed, or has an utterance twice.
    """
    return read_table(parse_rspecifier(rspecifier), allow_pipes, _read_matrix, on_bad, most)


def read_vectors(
    rspecifier: str, allow_pipes: bool = False, on_bad: OnBad | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a table of vectors: as ``read_matrices``, and yields (utterance, vector), vector: (dim,) float32."""
    return read_table(parse_rspecifier(rspecifier), allow_pipes, _read_vector, on_bad)


class RandomAccessMatrices:
    """A table of matrices or vectors, asked by utterance, such as one of i-vectors.

    An scp is read at once and its matrices when asked for; an archive is read as far as the utterance that is asked for
    lies in it, and what was read is kept (with the option ``o`` until it is asked for).

    Args:
        rspecifier: such as ``scp:exp/nnet3/ivectors_test/ivector_online.scp``.
        allow_pipes: whether commands in the rspecifier and in the scp run.

    Raises:
        As ``read_matrices``; an archive's errors appear when the utterance is asked for.
    """

    def __init__(self, rspecifier: str, allow_pipes: bool = False) -> None:
        self.rspecifier = rspecifier
        self._parsed = parse_rspecifier(rspecifier)
        self._entries: dict[str, ScriptEntry] = {}
        self._values: dict[str, np.ndarray] = {}
        self._streams = ScriptStreams(allow_pipes)
        self._archive: Iterator[tuple[str, np.ndarray]] = iter(())
        if self._parsed.script:
            self._entries = read_script(self._parsed.filename, allow_pipes)
        else:
            self._archive = read_table(self._parsed, allow_pipes, _read_either)

    def __contains__(self, key: str) -> bool:
        return key in self._entries or self._read_up_to(key)

    def get(self, key: str) -> np.ndarray:
        """The value of an utterance: (rows, columns) or (dim,) float32.

        Raises:
            DataError: the table does not hold the utterance, or its data is broken.
        """
        if key in self._entries:
            entry = self._entries[key]
            return _read_either(self._streams.open(entry), key, entry)
        if not self._read_up_to(key):
            raise DataError(f"utterance {key} is not in {self.rspecifier}")
        return self._values.pop(key) if self._parsed.once else self._values[key]

    def _read_up_to(self, key: str) -> bool:
        if key in self._values:
            return True
        for found, values in self._archive:
            if found in self._values:
                raise DataError(f"utterance {found} appears twice in {self.rspecifier}")
            self._values[found] = values
            if found == key:
                return True
        return False


def read_table(
    rspecifier: Rspecifier, allow_pipes: bool, read: ReadEntry[Value], on_bad: OnBad | None = None, most: int = 0
) -> Iterator[tuple[str, Value]]:
    """Reads a table of anything in its own order, one entry at a time.

    Args:
        rspecifier: taken apart.
        allow_pipes: whether commands run.
        read: reads one entry; it is given the stream at the entry's first byte, the utterance and, where the table is
            an scp, its line.
        on_bad: as in ``read_matrices``.
        most: likewise.

    Yields:
        (utterance, what ``read`` returned).

    Raises:
        As ``read_matrices``.
    """
    if not rspecifier.script:
        entries = _read_archive(rspecifier, allow_pipes, read)
        return thinned(entries, most) if most else entries
    if rspecifier.permissive and on_bad is None:
        return _read_warning(rspecifier, allow_pipes, read, most)
    return _read_script(rspecifier, allow_pipes, read, on_bad, most)


def thinned(values: Iterator[Value], most: int) -> Iterator[Value]:
    """At most so many values, evenly chosen, and at least half as many, where there are; no more are in memory."""
    kept: list[Value] = []
    step = 1
    for number, value in enumerate(values):
        if number % step:
            continue
        if len(kept) == most:
            kept, step = kept[::2], 2 * step
            if number % step:
                continue
        kept.append(value)
    yield from kept


def _read_script(
    rspecifier: Rspecifier, allow_pipes: bool, read: ReadEntry[Value], on_bad: OnBad | None, most: int
) -> Iterator[tuple[str, Value]]:
    streams = ScriptStreams(allow_pipes)
    try:
        entries = list(read_script(rspecifier.filename, allow_pipes).items())
        count = min(most, len(entries)) if most else len(entries)
        for key, entry in (entries[number * len(entries) // count] for number in range(count)):
            try:
                values = read(streams.open(entry), key, entry)
            except (DataError, FormatError) as error:
                if on_bad is None:
                    raise
                streams.close()
                on_bad(key, error)
                continue
            yield key, values
    finally:
        streams.close()


def _read_archive(rspecifier: Rspecifier, allow_pipes: bool, read: ReadEntry[Value]) -> Iterator[tuple[str, Value]]:
    stream = open_stream(rspecifier.filename, allow_pipes)
    try:
        key = read_key(stream)
        if key is None:
            stream.finish()
            stream.fail("the archive is empty")
        while key is not None:
            yield key, read(stream, key, None)
            key = read_key(stream)
        stream.finish()
    except (DataError, FormatError) as error:
        if not rspecifier.permissive:
            raise
        _log.warning("%s; the rest of the archive is skipped", error)
    finally:
        stream.close()


def _read_either(stream: ByteStream, key: str, entry: ScriptEntry | None) -> np.ndarray:
    values = read_entry(stream, key)
    return values if entry is None else entry.cut(values)


def _read_matrix(stream: ByteStream, key: str, entry: ScriptEntry | None) -> np.ndarray:
    values = read_entry(stream, key, dimensions=2)
    if values.ndim != 2:
        raise DataError(f"utterance {key}: expected a matrix, found a vector of {len(values)}")
    return values if entry is None else entry.cut(values)


def _read_vector(stream: ByteStream, key: str, entry: ScriptEntry | None) -> np.ndarray:
    values = read_entry(stream, key, dimensions=1)
    if values.ndim != 1:
        raise DataError(f"utterance {key}: expected a vector, found a matrix of {values.shape[0]} x {values.shape[1]}")
    return values if entry is None else entry.cut(values)


def _read_warning(
    rspecifier: Rspecifier, allow_pipes: bool, read: ReadEntry[Value], most: int
) -> Iterator[tuple[str, Value]]:
    """Warns of entries that cannot be read, and leaves them out."""
    warnings = FewWarnings("entries")

    def on_bad(key: str, error: KaldiQuantError) -> None:
        warnings.warn("%s is left out: %s", key, error)

    yield from _read_script(rspecifier, allow_pipes, read, on_bad, most)
    warnings.finish()
