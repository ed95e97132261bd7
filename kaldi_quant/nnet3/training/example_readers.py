"""Processes that read examples ahead, so that no step waits: each makes every n-th minibatch.

All of them go over the whole archive, of which they need little to know the order and the minibatches, and unpack
those that are theirs. The minibatches and their order are therefore the same whatever the number of processes.
"""

from __future__ import annotations

import logging
import pickle
import sys
import weakref
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

from kaldi_quant.cores import ONE_THREAD
from kaldi_quant.errors import DataError
from kaldi_quant.nnet3.training.example_arrays import ExampleArrays, Wanted
from kaldi_quant.processes import describe_status, end_groups, signals_wait, start_helper

_MODULE = "kaldi_quant.nnet3.training.example_reader"
# What a process has to clear away is nothing.
_SECONDS_TO_END = 1.0


@dataclass(frozen=True)
class Minibatch:
    """An answer of a process: a minibatch."""

    arrays: ExampleArrays | None


@dataclass(frozen=True)
class Said:
    """Something to be logged."""

    logger: str
    level: int
    message: str


@dataclass(frozen=True)
class End:
    """There are no more minibatches, with the reason where that is an error."""

    error: Exception | None = None


class ExampleReaders:
    """The processes, which are started when they are needed and wait for more between archives.

    Args:
        number: of processes.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._processes: list[Popen[bytes]] = []
        self._asked: deque[Wanted] = deque()
        self._end = weakref.finalize(self, _end, self._processes)

    def read(self, wanted: Wanted, following: Wanted | None = None) -> Generator[ExampleArrays | None, None, None]:
        """The same as ``wanted.read()``.

        Args:
            wanted: what is read.
            following: what is read when that is done, and is ready when it is asked for next.

        Raises:
            As ``wanted.read``; DataError where a process was ended.
        """
        # Processes end with the thread that has started them, and a generator runs in that which asks it.
        if self._asked and self._asked[0] != wanted:
            self.close()
        if not self._asked:
            self._ask(wanted)
        if following is not None and len(self._asked) == 1:
            self._ask(following)
        return self._answers()

    def close(self) -> None:
        """Ends the processes."""
        _end(self._processes)
        self._asked.clear()

    def _ask(self, wanted: Wanted) -> None:
        with signals_wait():
            for number in range(len(self._processes), self.number):
                command = [sys.executable, "-m", _MODULE, str(number), str(self.number)]
                self._processes.append(start_helper(command, ONE_THREAD))
        for process in self._processes:
            assert process.stdin is not None
            # One that has ended is noticed when it should answer.
            with suppress(BrokenPipeError):
                pickle.dump(wanted, process.stdin)
                process.stdin.flush()
        self._asked.append(wanted)

    def _answers(self) -> Generator[ExampleArrays | None, None, None]:
        done = False
        try:
            number = 0
            while not isinstance(answer := self._answer(number % self.number), End):
                yield answer.arrays
                number += 1
            if answer.error is not None:
                raise answer.error
            for other in range(number + 1, number + self.number):
                last = self._answer(other % self.number)
                assert isinstance(last, End)
                if last.error is not None:
                    raise last.error
            self._asked.popleft()
            done = True
        finally:
            if not done:
                self.close()

    def _answer(self, number: int) -> Minibatch | End:
        process = self._processes[number]
        assert process.stdout is not None
        while True:
            try:
                answer: Any = pickle.load(process.stdout)
            except (EOFError, pickle.UnpicklingError) as error:
                raise DataError(f"a process that reads examples {describe_status(process.wait())}") from error
            if not isinstance(answer, Said):
                assert isinstance(answer, Minibatch | End)
                return answer
            logging.getLogger(answer.logger).log(answer.level, "%s", answer.message)


def _end(processes: list[Popen[bytes]]) -> None:
    end_groups(processes, _SECONDS_TO_END)
    for process in processes:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                # What could not be sent any more need not be.
                with suppress(BrokenPipeError):
                    stream.close()
    processes.clear()
