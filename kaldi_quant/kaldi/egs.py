"""Archives of chain examples, read, written and made into minibatches as Kaldi's training does.

``nnet3-chain-copy-egs --frame-shift | nnet3-chain-shuffle-egs | nnet3-chain-merge-egs`` is ``minibatches`` here.
Source: ``src/nnet3/nnet-chain-example.h`` and ``KaldiObjectHolder`` in ``src/util/kaldi-holder-inl.h``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from kaldi_quant.bad_utterances import FewWarnings
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.chain_example import NnetChainExample, shift_times
from kaldi_quant.kaldi.example_packer import Packer
from kaldi_quant.kaldi.merge_egs import ExampleGroups, MinibatchSizes, merge_examples
from kaldi_quant.kaldi.packed_example import AnyExample, PackedExample, WholeExample, unpack
from kaldi_quant.kaldi.read_ahead import read_ahead
from kaldi_quant.kaldi.reader import BinaryReader, Reader, TextReader
from kaldi_quant.kaldi.script_file import read_script
from kaldi_quant.kaldi.shuffle import shuffle
from kaldi_quant.kaldi.specifiers import parse_rspecifier, parse_wspecifier
from kaldi_quant.kaldi.streams import ByteStream, open_stream
from kaldi_quant.kaldi.table_writer import TableWriter, matrix_writer
from kaldi_quant.kaldi.writer import make_writer

_log = logging.getLogger(__name__)

Value = TypeVar("Value")

# Called with an example's key and the reason why it is left out.
OnBad = Callable[[str, KaldiQuantError], None]
# Called with an example and its key; raises DataError where it cannot be used.
Check = Callable[[str, NnetChainExample], None]

# A key as nearly all are; others are looked at more closely.
_KEY = re.compile(rb"([!-~]{1,200}) ")
_SOMETHING = re.compile(rb"\S")
_ARCHIVE_WINDOW, _ENTRY_WINDOW = 1 << 18, 1 << 14
_LARGEST_WINDOW = 1 << 30


class _Window:
    """The part of an archive that is in memory, because an example does not tell its length beforehand.

    Args:
        stream: the archive.
        size: bytes to read at a time; more where an example is larger.
    """

    def __init__(self, stream: ByteStream, size: int) -> None:
        self._stream = stream
        self._data = b""
        self._position = 0
        self._size = size

    @property
    def _offset(self) -> int:
        """Where the window begins in the file."""
        return self._stream.position - len(self._data)

    def parse(self, read: Callable[[Reader], Value]) -> Value:
        """Lets ``read`` read what comes next, in binary form if it begins so, and moves behind it.

        Where it fails, it reads again with more of the file, until there is no more or its message stays the same. A
        message about the end of what is in memory does not stay the same, but in the text form.
        """
        message = ""
        while True:
            binary = self._data.startswith(b"\0B", self._position)
            kind = BinaryReader if binary else TextReader
            reader = kind(self._data, self._stream.name, self._offset)
            reader.position = self._position + (2 if binary else 0)
            try:
                value = read(reader)
            except FormatError as error:
                if (binary and str(error) == message) or not self._grow():
                    raise
                message = str(error)
            else:
                # A token at the end of a file eats a white space that is not there.
                self._position = min(reader.position, len(self._data))
                return value

    def key(self) -> str:
        """The key that comes next; moves behind it and the space that follows."""
        found = _KEY.match(self._data, self._position)
        if found is None:
            return self.parse(_read_key)
        self._position = found.end()
        return found[1].decode()

    def find(self, packer: Packer, key: str) -> PackedExample | None:
        """The example that comes next, with the place of its parts, if it has the usual layout; moves behind it."""
        while (found := packer.find(key, self._data, self._position, self._stream.name, self._offset)) is None:
            # Of an example that is not all there more is read.
            if len(self._data) - self._position >= self._size or not self._grow():
                return None
        self._position += len(found.data)
        return found

    def at_end(self) -> bool:
        """Whether nothing but white space is left."""
        while _SOMETHING.search(self._data, self._position) is None:
            self._position = len(self._data)
            if not self._grow():
                return True
        return False

    def _grow(self) -> bool:
        rest = self._data[self._position :]
        if len(rest) >= self._size:
            self._size *= 2
        if self._size > _LARGEST_WINDOW:
            self._stream.fail(f"an example is larger than {_LARGEST_WINDOW} bytes", self._offset + self._position)
        more = bytes(self._stream.read_up_to(self._size))
        self._data, self._position = rest + more, 0
        return bool(more)


def _read_key(reader: Reader) -> str:
    begin = reader.position
    key = reader.token()
    if "\0" in key:
        reader.fail("expected an example's key, found binary data", begin)
    # The byte behind the key is a space, or where the text form follows perhaps a new line.
    return key


def _read_example(window: _Window, key: str) -> NnetChainExample:
    try:
        return window.parse(NnetChainExample.read)
    except FormatError as error:
        raise DataError(f"example {key}: {error}") from error


def read_examples(
    rspecifier: str, allow_pipes: bool = False, on_bad: OnBad | None = None
) -> Iterator[tuple[str, NnetChainExample]]:
    """Reads a table of examples in its own order, one at a time.

    Args:
        rspecifier: such as ``ark:exp/chain/tdnn1a_sp/egs/cegs.1.ark``.
        allow_pipes: whether commands in the rspecifier and in the scp run.
        on_bad: is called for each entry of an scp that cannot be read, which is then left out; None makes such an entry
            an error. Nothing can be read behind a broken entry of an archive, which therefore is an error in any case.

    Yields:
        (key, example)

    Raises:
        UsageError: the rspecifier is malformed, or names a command and ``allow_pipes`` is False.
        FormatError, DataError: a file is missing, empty, truncated or malformed; names the example and the byte offset.
    """
    parsed = parse_rspecifier(rspecifier)
    if not parsed.script:
        return _read_archive(parsed.filename, allow_pipes, parsed.permissive)
    if on_bad is None and parsed.permissive:
        return _read_warning(parsed.filename, allow_pipes)
    return _read_script(parsed.filename, allow_pipes, on_bad)


def _read_archive(filename: str, allow_pipes: bool, permissive: bool) -> Iterator[tuple[str, NnetChainExample]]:
    for example in _read_entries(filename, allow_pipes, permissive, None):
        assert isinstance(example, WholeExample)
        yield example.key, example.example


def _read_entries(filename: str, allow_pipes: bool, permissive: bool, packer: Packer | None) -> Iterator[AnyExample]:
    """Reads an archive; with a packer only as far as is needed to tell its examples apart."""
    stream = open_stream(filename, allow_pipes)
    window = _Window(stream, _ARCHIVE_WINDOW)
    number = 0
    try:
        while not window.at_end():
            key = window.key()
            found = None if packer is None else window.find(packer, key)
            yield found or WholeExample(key, _read_example(window, key))
            number += 1
        stream.finish()
        if not number:
            stream.fail("the archive is empty")
    except (DataError, FormatError) as error:
        if not (permissive and number):
            raise
        _log.warning("%s; the rest of the archive is skipped", error)
    finally:
        stream.close()


def _read_script(filename: str, allow_pipes: bool, on_bad: OnBad | None) -> Iterator[tuple[str, NnetChainExample]]:
    for key, entry in read_script(filename, allow_pipes).items():
        try:
            with closing(open_stream(entry.filename, allow_pipes)) as stream:
                if entry.offset:
                    stream.seek(entry.offset)
                example = _read_example(_Window(stream, _ENTRY_WINDOW), key)
        except (DataError, FormatError) as error:
            if on_bad is None:
                raise
            on_bad(key, error)
            continue
        yield key, example


def _read_warning(filename: str, allow_pipes: bool) -> Iterator[tuple[str, NnetChainExample]]:
    """Warns of examples that cannot be read, and leaves them out."""
    warnings = FewWarnings("examples")

    def on_bad(key: str, error: KaldiQuantError) -> None:
        warnings.warn("the example %s is left out: %s", key, error)

    yield from _read_script(filename, allow_pipes, on_bad)
    warnings.finish()


class ExampleWriter:
    """Appends examples to an archive; ``example_writer`` makes one."""

    def __init__(self, table: TableWriter, binary: bool) -> None:
        self._table = table
        self._binary = binary

    def write(self, key: str, example: NnetChainExample) -> None:
        """Writes one example.

        Raises:
            DataError: the key is no single word or was written before, or the disk is full.
        """
        writer = make_writer(self._binary)
        example.write(writer)
        self._table.write_packed(key, writer.getvalue())


@contextmanager
def example_writer(wspecifier: str, allow_pipes: bool = False) -> Iterator[ExampleWriter]:
    """Opens an archive of examples for writing; it appears under its name when the block ends without an exception.

    Args:
        wspecifier: such as ``ark:cegs.1.ark``, ``ark,t:-`` or ``ark,scp:cegs.1.ark,cegs.1.scp``.
        allow_pipes: whether a command such as ``ark:| gzip -c > cegs.ark.gz`` runs.

    Raises:
        UsageError: the wspecifier is malformed, or names a command and ``allow_pipes`` is False.
        DataError: a file cannot be written, or the command fails.
    """
    binary = parse_wspecifier(wspecifier).binary
    with matrix_writer(wspecifier, allow_pipes) as table:
        yield ExampleWriter(table, binary)


@dataclass(frozen=True)
class EgsOptions:
    """How Kaldi's training reads its examples.

    Args:
        minibatch_size: Kaldi's ``--minibatch-size``, see MinibatchSizes.
        frame_shift: by how many frames the features move against the output.
        buffer_size: examples that are held for shuffling; 0 for all, negative for no shuffling.
        srand: decides the order.
        read_ahead: minibatches that are made before they are asked for; 0 makes each when it is.
        allow_pipes: whether commands in rspecifiers run.
    """

    minibatch_size: str = "64"
    frame_shift: int = 0
    buffer_size: int = 5000
    srand: int = 0
    read_ahead: int = 2
    allow_pipes: bool = False

    def __post_init__(self) -> None:
        MinibatchSizes.parse(self.minibatch_size)
        if self.read_ahead < 0:
            raise UsageError(f"minibatches cannot be read {self.read_ahead} ahead, expected 0 or more")


def minibatches(
    rspecifier: str, options: EgsOptions, check: Check | None = None
) -> Iterator[tuple[str, NnetChainExample]]:
    """Reads examples and makes minibatches of them, as the pipe in front of ``nnet3-chain-train`` does.

    Args:
        rspecifier: such as ``ark:exp/chain/tdnn1a_sp/egs/cegs.1.ark``.
        options: shift, order and sizes.
        check: is given the key and the shifted example of one example of each structure (names, dimensions, times and
            pdfs), and raises DataError where such cannot be used.

    Yields:
        (key, merged example)

    Raises:
        As ``read_examples``; DataError where examples cannot be merged.
    """
    return read_ahead(every_nth_minibatch(rspecifier, options, check), options.read_ahead)


def every_nth_minibatch(
    rspecifier: str, options: EgsOptions, check: Check | None, first: int = 0, step: int = 1
) -> Iterator[tuple[str, NnetChainExample]]:
    """Some of the minibatches; of the examples of others hardly more is read than where they are.

    Args:
        rspecifier, options, check: as above; nothing is read ahead.
        first: the number of the first minibatch that is wanted, from 0 on.
        step: from each to the next.

    Yields, raises:
        As above.
    """
    groups: ExampleGroups[AnyExample] = ExampleGroups(MinibatchSizes.parse(options.minibatch_size))
    checked: set[tuple[object, ...]] = set()

    def read(examples: list[AnyExample]) -> list[NnetChainExample]:
        found = unpack(examples)
        for packed, example in zip(examples, found, strict=True):
            if check is not None and packed.structure not in checked:
                check(packed.key, shift_times(example, options.frame_shift))
                checked.add(packed.structure)
        return found

    with closing(_packed(rspecifier, options.allow_pipes)) as examples:
        ordered: Iterator[AnyExample] = examples
        if options.buffer_size >= 0:
            ordered = shuffle(examples, options.buffer_size, options.srand)
        full = (group for example in ordered for group in groups.accept(example))
        for number, (key, group) in enumerate(chain(full, groups.finish())):
            if number % step == first:
                yield key, shift_times(merge_examples(read(group)), options.frame_shift)
    # Those that are left over may be broken, too.
    read(list(groups.waiting))


def _packed(rspecifier: str, allow_pipes: bool) -> Generator[AnyExample, None, None]:
    parsed = parse_rspecifier(rspecifier)
    if parsed.script or parsed.permissive:
        # One at a time: a broken one is left out.
        for key, example in read_examples(rspecifier, allow_pipes):
            yield WholeExample(key, example)
    else:
        yield from _read_entries(parsed.filename, allow_pipes, False, Packer())
