"""A recipe's run: its stages, and the commands that they call."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import KaldiQuantError, UsageError

_log = logging.getLogger(__name__)

#: What a recipe's stages are, by number.
STAGES = ("lang", "lattices", "tree", "denominator", "egs", "initial model", "training", "decoding")

#: The project's folder, where the shell recipes lie.
ROOT = Path(__file__).resolve().parents[3]


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


def run(command: Sequence[str | Path], log: Path | None = None) -> None:
    """Runs a command.

    Args:
        command: a program and its arguments.
        log: where what it prints goes; by default to the terminal.

    Raises:
        CommandError: it cannot be started, or fails.
    """
    words = [str(word) for word in command]
    try:
        if log is None:
            status = subprocess.run(words, check=False).returncode
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w") as stream:
                stream.write(f"# {' '.join(words)}\n")
                stream.flush()
                status = subprocess.run(words, check=False, stdout=stream, stderr=subprocess.STDOUT).returncode
    except FileNotFoundError as error:
        raise CommandError(f"{words[0]} was not found: it belongs to the Kaldi recipe or to KALDI_ROOT") from error
    if status:
        place = f"see {log}" if log else "as it says above"
        raise CommandError(f"{words[0]} failed with status {status}, {place}")


def run_verb(verb: str, arguments: Sequence[str | Path], log: Path) -> None:
    """Runs a verb of this project in a process of its own.

    Raises:
        CommandError: it fails; it has said why.
    """
    program: list[str | Path] = [sys.executable, "-m", "kaldi_quant", "--log", log, verb, *arguments]
    status = subprocess.run([str(word) for word in program], check=False).returncode
    if status:
        raise CommandError(f"kaldi-quant {verb} failed, as it says above and in {log}")


def kaldi_root() -> str | None:
    """Where Kaldi is, if it is anywhere."""
    return os.environ.get("KALDI_ROOT") or None
