"""A process that reads examples: ``python -m kaldi_quant.nnet3.training.example_reader FIRST STEP``.

Is asked by standard input and answers by standard output, with what ``example_readers`` names; ends when its input
does. Every step-th minibatch from the first on is its own.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
from contextlib import suppress
from typing import BinaryIO

from kaldi_quant.errors import KaldiQuantError
from kaldi_quant.nnet3.training.example_arrays import Wanted
from kaldi_quant.nnet3.training.example_readers import End, Minibatch, Said
from kaldi_quant.processes import end_with_starter


class _Answers(logging.Handler):
    """Where answers go, and what is logged meanwhile."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def give(self, answer: Minibatch | Said | End) -> None:
        """Sends one; waits while nobody takes it."""
        pickle.dump(answer, self._stream, pickle.HIGHEST_PROTOCOL)
        self._stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Hands on what the first of the processes says, and the others, too."""
        self.give(Said(record.name, record.levelno, record.getMessage()))


def serve(questions: BinaryIO, answers: _Answers, first: int, step: int) -> None:
    """Answers until there are no more questions."""
    while True:
        try:
            wanted: Wanted = pickle.load(questions)
        except EOFError:
            return
        try:
            for arrays in wanted.read(first, step):
                answers.give(Minibatch(arrays))
        except BrokenPipeError:
            raise
        except (KaldiQuantError, OSError, MemoryError) as error:
            answers.give(End(error))
        else:
            answers.give(End())


def main(arguments: list[str]) -> None:
    """Serves whoever has started this process."""
    first, step = (int(word) for word in arguments)
    end_with_starter()
    # Nothing else may come into the answers.
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answers = _Answers(stream)
    logger = logging.getLogger("kaldi_quant")
    logger.propagate = False
    if first == 0:
        logger.setLevel(logging.INFO)
        logger.addHandler(answers)
    else:
        logger.addHandler(logging.NullHandler())
    with suppress(BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, answers, first, step)


if __name__ == "__main__":
    main(sys.argv[1:])
