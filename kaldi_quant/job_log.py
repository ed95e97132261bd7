"""Log files that begin and end as those of Kaldi's ``run.pl``: with the command, and with how it ended.

Source: ``utils/parallel/run.pl`` of Kaldi's recipes.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

# What shells take as operators in the commands of Kaldi's recipes.
OPERATORS = ("|", ">", "&&")
# What the line of a Kaldi program that fails begins with.
_ERROR = "ERROR ("
# run.pl and slurm.pl end a log in the first way, queue.pl in the second.
_ENDED = re.compile(rb"^# (?:Ended \(code (\d+)(?:; signal (\d+))?\)|Finished at .* with status (\d+)$)", re.MULTILINE)
_LAST_BYTES = 4096


def command_line(words: Sequence[str]) -> str:
    """A command as a shell takes it."""
    return " ".join(word if word in OPERATORS else shlex.quote(word) for word in words)


def first_lines(command: str) -> str:
    """What a log begins with."""
    return f"# {command}\n# Started at {_date()}\n#\n"


def last_lines(status: int, seconds: float) -> str:
    """What a log ends with.

    Args:
        status: as ``subprocess`` has it: below 0 for a signal.
        seconds: how long the command took.
    """
    how = f"code 0; signal {-status}" if status < 0 else f"code {status}"
    whole = int(seconds)
    accounting = f"# Accounting: time={whole} threads=1\n"
    return f"{accounting}# Ended ({how}) at {_date()}, elapsed time {whole} seconds\n"


def _date() -> str:
    """As ``date`` prints it."""
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def status_of(log: Path) -> int | None:
    """How a log says that its command has ended, as ``subprocess`` has it; None where it does not say so."""
    found = _ENDED.findall(_end_of(log)) if log.is_file() else []
    if not found:
        return None
    code, number, status = found[-1]
    return -int(number) if number else int(code or status)


def tail(log: Path, lines: int = 1) -> str:
    """The last lines of a log that say something."""
    if not log.is_file():
        return ""
    text = [
        line.strip()
        for line in log.read_text("utf-8", "replace").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return " / ".join(text[-lines:])


def error_lines(log: Path) -> list[str]:
    """The lines in which Kaldi's programs tell errors."""
    return [line for line in log.read_text("utf-8", "replace").splitlines() if line.startswith(_ERROR)]


def _end_of(log: Path) -> bytes:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LAST_BYTES))
        return stream.read()
