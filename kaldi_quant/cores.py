"""How many threads may compute: the processor's cores that this process has, and how threads wait for work.

Libraries read the environment when they are loaded, so that it is set before any of them is imported. What the user has
set stays.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

#: For a process that computes beside others: one thread in every library.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# How long threads of OpenMP wait for work in a loop before they sleep: GNU's in turns of the loop, Intel's and LLVM's
# in milliseconds. By default it is so long that beside other jobs most of the processor's time goes into waiting; none
# at all makes many small products slow.
_SHORT_WAITS = {"GOMP_SPINCOUNT": "1500", "KMP_BLOCKTIME": "1"}

_CGROUPS = Path("/sys/fs/cgroup")


def prepare_libraries(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets how many threads libraries start, and how these wait; to be called before torch or numpy is imported."""
    for name, value in {**_SHORT_WAITS, "OMP_NUM_THREADS": str(cores())}.items():
        environment.setdefault(name, value)


def cores(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """The cores that this process may use: those that it is bound to, and no more than its cgroups grant it.

    Args:
        root: where cgroups are mounted.
        own: lists those of this process.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(math.ceil(share) for share in _shares(root, own))]))


def helpers(most: int, processes: int = 1) -> int:
    """How many processes may compute beside one that drives a GPU, at least one.

    Args:
        most: of which there is use.
        processes: that share this machine, each with helpers of its own.
    """
    return max(1, min(most, cores() // max(processes, 1) - 1))


def _shares(root: Path, own: Path) -> Iterator[float]:
    """The processors' time, as a number of cores, that each cgroup above this process grants."""
    for line in _text(own).splitlines():
        number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        unified = number == "0" and not controllers
        if not unified and "cpu" not in controllers.split(","):
            continue
        mount = root if unified else root / "cpu"
        folder = mount / path.lstrip("/")
        for place in (folder, *folder.parents):
            quota, period = _quota(place, unified)
            if quota > 0 and period > 0:
                yield quota / period
            if place == mount:
                break


def _quota(folder: Path, unified: bool) -> tuple[float, float]:
    """Microseconds of processor time in each period, and the period; zeros where there is no limit.

    Source: Linux, ``Documentation/admin-guide/cgroup-v2.rst`` and ``Documentation/scheduler/sched-bwc.rst``.
    """
    if unified:
        words = _text(folder / "cpu.max").split()
    else:
        words = [*_text(folder / "cpu.cfs_quota_us").split(), *_text(folder / "cpu.cfs_period_us").split()]
    try:
        quota, period = (float(word) for word in words)
    except ValueError:
        return 0.0, 0.0
    return quota, period


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
