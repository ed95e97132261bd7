"""A recipe's run: its stages, and the commands that they call."""

from __future__ import annotations

import glob
import logging
import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import KaldiQuantError, UsageError
from kaldi_quant.job_log import command_line, error_lines, first_lines, last_lines, status_of, tail
from kaldi_quant.processes import describe_status, run_group

_log = logging.getLogger(__name__)

#: What a recipe's stages are, by number.
STAGES = ("lang", "lattices", "tree", "denominator", "egs", "initial model", "training", "decoding")

#: The project's folder, where the shell recipes lie.
ROOT = Path(__file__).resolve().parents[3]

_LAST_LINES = 2
_NAMED_LOG = re.compile(r"log is in (\S+)")


class CommandError(KaldiQuantError):
    """A command that a recipe called has failed; it has said why."""


@dataclass(frozen=True)
class Stages:
    """Which stages run.

    Args:
        first: the stage to begin with.
        last: the stage to end with.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        for name, value in (("--stage", self.first), ("--stop-stage", self.last)):
            if not 0 <= value < len(STAGES):
                raise UsageError(f"{name} {value} is not one of 0 to {len(STAGES) - 1}")

    def begins(self, number: int) -> bool:
        """Whether a stage is to run."""
        return self.first <= number <= self.last

    def say(self, number: int, text: str) -> None:
        """Reports what a stage does."""
        _log.info("stage %d, %s: %s", number, STAGES[number], text)


def run(command: Sequence[str | Path], log: Path | None = None, name: str | None = None) -> None:
    """Runs a command, which ends with this process.

    Args:
        command: a program and its arguments.
        log: where what it prints goes, between the command and how it ended; by default to the terminal.
        name: of what is run, for messages; by default the program's.

    Raises:
        CommandError: it cannot be started, or fails; says why where there is a log.
    """
    words = [str(word) for word in command]
    try:
        status = run_group(words) if log is None else _logged(words, log)
    except OSError as error:
        if error.filename != words[0]:
            raise
        hint = ": it belongs to the Kaldi recipe or to KALDI_ROOT" if isinstance(error, FileNotFoundError) else ""
        raise CommandError(f"{words[0]} cannot be run, {error.strerror}{hint}") from error
    if status:
        reason = f": {reason_of_failure(log)}; see {log}" if log else ", as it says above" if 0 < status < 128 else ""
        raise CommandError(f"{name or words[0]} {describe_status(status)}{reason}")


def _logged(words: list[str], log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        stream.write(first_lines(command_line(words)))
        stream.flush()
        status = -signal.SIGTERM
        try:
            status = run_group(words, stream)
        finally:
            stream.write(last_lines(status, time.monotonic() - begin))
    return status


def reason_of_failure(log: Path) -> str:
    """What a log says last, and what the logs say that it names, as those of Kaldi's scripts name their jobs'."""
    said = tail(log, _LAST_LINES) or "it says nothing"
    named = _NAMED_LOG.search(said)
    if named is None:
        return said
    # The logs of several jobs are named by a star in the place of the number.
    logs = map(Path, sorted(glob.glob(named[1])))
    failed = next((path for path in logs if path.is_file() and status_of(path) != 0), None)
    if failed is None:
        return said
    lines = error_lines(failed)
    return f"{said} / {failed}: {lines[-1] if lines else tail(failed)}"


def kaldi_root() -> str | None:
    """Where Kaldi is, if it is anywhere."""
    return os.environ.get("KALDI_ROOT") or None
