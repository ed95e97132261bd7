"""The memory of a command and of all processes that it starts, looked at again and again while it runs."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_SECONDS = 0.02
_MEGABYTE = 1 << 20


@dataclass
class Watched:
    """What a command took.

    Attributes:
        seconds: of the clock.
        processor_seconds: of the processor, in all processes.
        pss: the largest sum of all processes' proportional set sizes, MB: what they share counts once.
        rss: the largest sum of their resident set sizes, MB: what they share counts for each.
        anonymous: the largest sum of what is not a mapped file, MB, counted as in ``rss``.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    pss: float = 0.0
    rss: float = 0.0
    anonymous: float = 0.0


def watch(command: Sequence[str]) -> Watched:
    """Runs a command.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    found, begin, before = Watched(), time.monotonic(), _processor_seconds()
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            sizes = [_sizes(member) for member in _family(process.pid)]
            for name in ("pss", "rss", "anonymous"):
                setattr(found, name, max(getattr(found, name), sum(size.get(name, 0.0) for size in sizes)))
            time.sleep(_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found.seconds, found.processor_seconds = time.monotonic() - begin, _processor_seconds() - before
    return found


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family


def _sizes(pid: int) -> dict[str, float]:
    """What ``smaps_rollup`` says of a process, in MB; nothing of one that has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    values = (line.split() for line in lines)
    return {name.rstrip(":").lower(): int(value) * 1024 / _MEGABYTE for name, value, *_ in values}
