"""Bytes from wherever Kaldi reads tables: a file, a gzip file, standard input, or a command's output.

A stream knows its name and its position, so that every message says where reading failed. Sizes that a file claims are
checked against the bytes that are left; where a stream's length is unknown, memory grows only with what really arrives.
Source: ``ClassifyRxfilename`` in ``src/util/kaldi-io.cc``.
"""

import contextlib
import gzip
import io
import os
import stat
import subprocess
import sys
import zlib
from typing import BinaryIO, NoReturn, cast

from kaldi_quant.errors import FormatError, UsageError
from kaldi_quant.kaldi.text import SPACE

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_SECONDS_TO_END = 1.0
_LONGEST_REST = 1 << 24
_SPACE = SPACE.encode()


class ByteStream:
    """Reads bytes one after the other and counts them.

    Args:
        source: an open binary stream that has ``peek``.
        name: what messages call it.
        size: the number of bytes that the stream holds; None where that is unknown.
        process: the command whose output this is, or None.
    """

    def __init__(
        self, source: BinaryIO, name: str, size: int | None = None, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self._source = source
        self.name = name
        self.position = 0
        self._size = size
        self._process = process

    @property
    def is_command(self) -> bool:
        """True for the output of a command."""
        return self._process is not None

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        """Raises FormatError at ``position``, by default the current one."""
        raise FormatError(self.name, self.position if position is None else position, message)

    def read(self, number: int) -> bytes:
        """At most ``number`` bytes; fewer only where the stream ends."""
        try:
            data = self._source.read(number)
        except (OSError, EOFError, zlib.error) as error:
            self._fail_reading(error)
        self.position += len(data)
        return data

    def read_exact(self, number: int, what: str) -> bytearray:
        """Exactly ``number`` bytes; FormatError names ``what`` where the stream holds fewer."""
        begin = self.position
        if self._size is not None and number > self._size - self.position:
            self.fail(f"{what} needs {number} bytes, and {max(self._size - self.position, 0)} are left")
        data = self.read_up_to(number)
        if len(data) < number:
            self._fail_at_end(f"{what} needs {number} bytes, and {len(data)} are left", begin)
        return data

    def read_up_to(self, number: int) -> bytearray:
        """At most ``number`` bytes, fewer only where the stream ends; no more memory than these bytes need."""
        data = bytearray()
        while piece := self.read(min(number - len(data), _CHUNK)):
            data += piece
        return data

    def skip(self, number: int, what: str) -> None:
        """Goes over ``number`` bytes; FormatError names ``what`` where the stream holds fewer."""
        begin, left = self.position, number
        if self._size is not None:
            if number > self._size - self.position:
                self.fail(f"{what} needs {number} bytes, and {max(self._size - self.position, 0)} are left")
            self._source.seek(self.position + number)
            self.position += number
            return
        while left and (piece := self.read(min(left, _CHUNK))):
            left -= len(piece)
        if left:
            self._fail_at_end(f"{what} needs {number} bytes, and {number - left} are left", begin)

    def read_line(self, limit: int) -> bytes:
        """Bytes up to and including the next newline, at most ``limit``."""
        try:
            line = self._source.readline(limit)
        except (OSError, EOFError, zlib.error) as error:
            self._fail_reading(error)
        self.position += len(line)
        return line

    def peek(self, number: int) -> bytes:
        """The next bytes, left in place: at least one unless the stream has ended, and as a rule ``number``."""
        try:
            return cast(io.BufferedReader, self._source).peek(number)[:number]
        except (OSError, EOFError, zlib.error) as error:
            self._fail_reading(error)

    def read_through(self, end: bytes, allowed: bytes, what: str) -> bytearray:
        """Bytes up to and including the byte ``end``, or to the end of the stream; ``what`` consists of ``allowed``."""
        data = bytearray()
        while piece := self.peek(_CHUNK):
            length = piece.find(end) + 1 or len(piece)
            strange = piece[:length].translate(None, allowed + end)
            if strange:
                position = self.position + piece.index(strange[:1])
                self.fail(f"expected {what}, found {_printable(piece[piece.index(strange[:1]) :])}", position)
            data += self.read(length)
            if data.endswith(end):
                break
        return data

    def skip_space(self) -> None:
        """Goes over white space."""
        while (byte := self.peek(1)) and byte in _SPACE:
            self.read(1)

    def read_word(self, longest: int, what: str) -> bytes:
        """Skips white space and reads up to the next white space, which stays; empty where the stream has ended."""
        self.skip_space()
        word = bytearray()
        while (byte := self.peek(1)) and byte not in _SPACE:
            if len(word) == longest:
                self.fail(
                    f"expected {what}, found more than {longest} bytes without white space", self.position - longest
                )
            word += self.read(1)
        return bytes(word)

    def seek(self, offset: int) -> None:
        """Goes to a byte offset of a file."""
        if self._size is not None and offset >= self._size:
            self.fail(f"the file has {self._size} bytes, so nothing can begin at byte {offset}", offset)
        try:
            self._source.seek(offset)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            self._fail_reading(error)
        self.position = offset

    def close(self) -> None:
        """Closes the stream and stops its command, if any."""
        if self._source is not sys.stdin.buffer:
            self._source.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def finish(self) -> None:
        """Closes a stream of which all that is needed was read; raises FormatError where its command failed."""
        if self._process is not None:
            # A command that still has something to say waits until it is heard; one that says too much is stopped.
            heard = 0
            while heard < _LONGEST_REST and (piece := self.read(_CHUNK)):
                heard += len(piece)
            if heard < _LONGEST_REST and (status := self._process.wait()) != 0:
                raise FormatError(self.name, None, f"the command ended with status {status}")
        self.close()

    def _fail_at_end(self, message: str, position: int) -> NoReturn:
        """The stream holds less than it should; a command that failed is the better explanation."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if (status := self._process.wait(_SECONDS_TO_END)) != 0:
                    raise FormatError(self.name, None, f"the command ended with status {status}")
        self.fail(message, position)

    def _fail_reading(self, error: Exception) -> NoReturn:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FormatError(self.name, self.position, f"cannot be read: {reason}") from error


def _printable(data: bytes) -> str:
    """A quotation of the word with which data begins."""
    return repr(data.split(None, 1)[0][:20].decode("ascii", "backslashreplace"))


def is_pipe(filename: str) -> bool:
    """True for a command whose output is read, which Kaldi marks by a ``|`` at the end."""
    return filename.rstrip(SPACE).endswith("|")


def require_pipes(command: str, allow_pipes: bool, origin: str = "") -> None:
    """Raises UsageError unless commands may run; ``origin`` says where the command was found."""
    if not allow_pipes:
        raise UsageError(
            f"{origin}the command {command.strip(SPACE)!r} is not run: give --allow-pipes true if you trust its source"
        )


def open_stream(filename: str, allow_pipes: bool = False) -> ByteStream:
    """Opens a file (gzip is recognised by its first bytes), ``-`` for standard input, or a command ending in ``|``.

    Raises:
        FormatError: the file cannot be opened.
        UsageError: the name is a command and ``allow_pipes`` is False.
    """
    if filename in ("", "-"):
        return ByteStream(sys.stdin.buffer, "standard input")
    if is_pipe(filename):
        require_pipes(filename, allow_pipes)
        command = filename.rstrip(SPACE).removesuffix("|")
        process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE)
        assert process.stdout is not None
        return ByteStream(cast(BinaryIO, process.stdout), filename.strip(SPACE), process=process)
    try:
        source = open(filename, "rb")  # noqa: SIM115 - the stream owns it
        status = os.fstat(source.fileno())
        regular = stat.S_ISREG(status.st_mode)
        if regular and source.peek(2)[:2] == _GZIP_MAGIC:
            source.close()
            packed = cast(io.RawIOBase, gzip.open(filename, "rb"))  # noqa: SIM115 - the stream owns it
            return ByteStream(cast(BinaryIO, io.BufferedReader(packed, _CHUNK)), f"{filename} (uncompressed)")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FormatError(filename, None, f"cannot be read: {reason}") from error
    return ByteStream(source, filename, status.st_size if regular else None)
