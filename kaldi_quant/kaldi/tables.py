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

import numpy as np

from kaldi_quant.bad_utterances import FewWarnings
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError
from kaldi_quant.kaldi.script_file import ScriptEntry, read_script
from kaldi_quant.kaldi.specifiers import Rspecifier, parse_rspecifier
from kaldi_quant.kaldi.streams import ByteStream, is_pipe, open_stream, require_pipes
from kaldi_quant.kaldi.table_entry import read_entry, read_key
from kaldi_quant.kaldi.table_writer import TableWriter, matrix_writer

__all__ = ["OnBad", "RandomAccessMatrices", "TableWriter", "matrix_writer", "read_matrices", "read_vectors"]

# Called with an utterance and the reason why it is left out.
OnBad = Callable[[str, KaldiQuantError], None]

_log = logging.getLogger(__name__)


def read_matrices(
    rspecifier: str, allow_pipes: bool = False, on_bad: OnBad | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a table of matrices in its own order, one at a time.

    Args:
        rspecifier: such as ``scp:data/test/feats.scp``.
        allow_pipes: whether commands in the rspecifier and in the scp run.
        on_bad: is called for each entry of an scp that cannot be read, which is then left out; None makes such an entry
            an error, unless the rspecifier has the option ``p``. Nothing can be read behind a broken entry of an
            archive, which therefore is an error in any case.

    Yields:
        (utterance, matrix), matrix: (frames, dim) float32, (0, 0) where the file holds an empty one.

    Raises:
        UsageError: the rspecifier is malformed, or names a command and ``allow_pipes`` is False.
        FormatError, DataError: a file is missing, truncated or malformed, or has an utterance twice.
    """
    return _read(rspecifier, allow_pipes, on_bad, _as_matrix)


def read_vectors(
    rspecifier: str, allow_pipes: bool = False, on_bad: OnBad | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a table of vectors: as ``read_matrices``, and yields (utterance, vector), vector: (dim,) float32."""
    return _read(rspecifier, allow_pipes, on_bad, _as_vector)


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
        self._reader = _EntryReader(allow_pipes)
        self._archive: Iterator[tuple[str, np.ndarray]] = iter(())
        if self._parsed.script:
            self._entries = read_script(self._parsed.filename, allow_pipes)
        else:
            self._archive = _read_archive(self._parsed, allow_pipes)

    def __contains__(self, key: str) -> bool:
        return key in self._entries or self._read_up_to(key)

    def get(self, key: str) -> np.ndarray:
        """The value of an utterance: (rows, columns) or (dim,) float32.

        Raises:
            DataError: the table does not hold the utterance, or its data is broken.
        """
        if key in self._entries:
            return self._reader.read(self._entries[key])
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


class _EntryReader:
    """Reads the entries of an scp; a file that the next entry points into stays open."""

    def __init__(self, allow_pipes: bool) -> None:
        self._allow_pipes = allow_pipes
        self._filename = ""
        self._stream: ByteStream | None = None

    def read(self, entry: ScriptEntry) -> np.ndarray:
        """The matrix or vector of an entry, cut to its range."""
        if is_pipe(entry.filename):
            require_pipes(entry.filename, self._allow_pipes, f"{entry.where}: ")
        try:
            stream = self._open(entry)
        except FormatError as error:
            raise DataError(f"utterance {entry.key} ({entry.where}): {error}") from error
        return entry.cut(read_entry(stream, entry.key))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self, entry: ScriptEntry) -> ByteStream:
        reusable = self._filename == entry.filename and not is_pipe(entry.filename) and entry.filename != "-"
        if self._stream is None or not reusable:
            self.close()
            self._stream = open_stream(entry.filename, self._allow_pipes)
            self._filename = entry.filename
        if entry.offset is not None or self._stream.position:
            self._stream.seek(entry.offset or 0)
        return self._stream


def _read(
    rspecifier: str, allow_pipes: bool, on_bad: OnBad | None, check: Callable[[str, np.ndarray], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    parsed = parse_rspecifier(rspecifier)
    if parsed.script and parsed.permissive and on_bad is None:
        return _read_warning(parsed, allow_pipes, check)
    if parsed.script:
        return _read_script(parsed, allow_pipes, on_bad, check)
    return ((key, check(key, values)) for key, values in _read_archive(parsed, allow_pipes))


def _read_script(
    rspecifier: Rspecifier, allow_pipes: bool, on_bad: OnBad | None, check: Callable[[str, np.ndarray], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    reader = _EntryReader(allow_pipes)
    try:
        for key, entry in read_script(rspecifier.filename, allow_pipes).items():
            try:
                values = check(key, reader.read(entry))
            except (DataError, FormatError) as error:
                if on_bad is None:
                    raise
                reader.close()
                on_bad(key, error)
                continue
            yield key, values
    finally:
        reader.close()


def _read_archive(rspecifier: Rspecifier, allow_pipes: bool) -> Iterator[tuple[str, np.ndarray]]:
    stream = open_stream(rspecifier.filename, allow_pipes)
    try:
        key = read_key(stream)
        if key is None:
            stream.finish()
            stream.fail("the archive is empty")
        while key is not None:
            yield key, read_entry(stream, key)
            key = read_key(stream)
        stream.finish()
    except (DataError, FormatError) as error:
        if not rspecifier.permissive:
            raise
        _log.warning("%s; the rest of the archive is skipped", error)
    finally:
        stream.close()


def _as_matrix(key: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 2:
        raise DataError(f"utterance {key}: expected a matrix, found a vector of {len(values)}")
    return values


def _as_vector(key: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1:
        raise DataError(f"utterance {key}: expected a vector, found a matrix of {values.shape[0]} x {values.shape[1]}")
    return values


def _read_warning(
    rspecifier: Rspecifier, allow_pipes: bool, check: Callable[[str, np.ndarray], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Warns of entries that cannot be read, and leaves them out."""
    warnings = FewWarnings("entries")

    def on_bad(key: str, error: KaldiQuantError) -> None:
        warnings.warn("%s is left out: %s", key, error)

    yield from _read_script(rspecifier, allow_pipes, on_bad, check)
    warnings.finish()
