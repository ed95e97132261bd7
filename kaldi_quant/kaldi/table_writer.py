"""Writes tables of matrices and vectors; ``tables`` is their reader."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.specifiers import parse_wspecifier
from kaldi_quant.kaldi.streams import require_pipes
from kaldi_quant.kaldi.text import encode, split_words
from kaldi_quant.kaldi.writer import make_writer


class TableWriter:
    """Appends entries to an archive and, where asked for, lines to its scp. ``matrix_writer`` makes one."""

    def __init__(self, archive: IO[bytes], name: str, script: IO[bytes] | None, binary: bool) -> None:
        self._archive = archive
        self._name = name
        self._script = script
        self._binary = binary
        self._position = 0
        self._keys: set[str] = set()

    def write(self, key: str, values: np.ndarray) -> None:
        """Writes one entry, values: (rows, columns) or (dim,), stored as float32.

        Raises:
            DataError: the key is no single word or was written before, or the disk is full.
        """
        writer = make_writer(self._binary)
        values = np.asarray(values, np.float32)
        (writer.matrix if values.ndim == 2 else writer.vector)(values)
        self.write_packed(key, writer.getvalue())

    def write_packed(self, key: str, data: bytes) -> None:
        """Writes one entry whose bytes, with the binary header, are made already."""
        if split_words(key) != [key]:
            raise DataError(f"{key!r} cannot name an utterance: it must be one word")
        if key in self._keys:
            raise DataError(f"utterance {key} appears twice; an archive can hold it only once")
        self._keys.add(key)
        head = encode(key) + b" "
        self._archive.write(head + data)
        if self._script is not None:
            self._script.write(encode(f"{key} {self._name}:{self._position + len(head)}\n"))
        self._position += len(head) + len(data)


@contextmanager
def matrix_writer(wspecifier: str, allow_pipes: bool = False) -> Iterator[TableWriter]:
    """Opens a table for writing; its files appear under their names when the block ends without an exception.

    Args:
        wspecifier: such as ``ark:out.ark``, ``ark,t:-`` or ``ark,scp:out.ark,out.scp``.
        allow_pipes: whether a command such as ``ark:| gzip -c > out.ark.gz`` runs.

    Raises:
        UsageError: the wspecifier is malformed, or names a command and ``allow_pipes`` is False.
        DataError: a file cannot be written, or the command fails.
    """
    parsed = parse_wspecifier(wspecifier)
    with ExitStack() as stack:
        # The exit runs backwards: the archive appears before the scp that points into it.
        script = stack.enter_context(_open_output(parsed.script, allow_pipes)) if parsed.script else None
        archive = stack.enter_context(_open_output(parsed.archive, allow_pipes))
        yield TableWriter(archive, parsed.archive, script, parsed.binary)


@contextmanager
def _open_output(name: str, allow_pipes: bool) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif name.startswith("|"):
        require_pipes(name, allow_pipes)
        with _command_input(name) as stream:
            yield stream
    elif os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
        # A device or a named pipe: there is nothing that could be renamed onto it.
        with open(name, "wb") as stream:
            yield stream
    else:
        with atomic_write(name) as stream:
            yield stream


@contextmanager
def _command_input(name: str) -> Iterator[IO[bytes]]:
    process = subprocess.Popen(name.removeprefix("|"), shell=True, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        yield process.stdin
        process.stdin.close()
    except BrokenPipeError as error:
        raise DataError(f"the command {name!r} stopped reading") from error
    except BaseException:
        process.kill()
        raise
    finally:
        status = process.wait()
    if status != 0:
        raise DataError(f"the command {name!r} ended with status {status}")
