"""Processes that end together: a signal ends what was started, and what was begun is cleared away.

SIGTERM and SIGHUP become an exception, as SIGINT is one already, so that context managers and ``finally`` blocks run:
temporary files and folders vanish. Commands run in process groups of their own, which end with whoever waits for them:
a script that is stopped leaves none of its children running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

from kaldi_quant.folder_lock import has_ended, held_locks, this_process

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# What a group has to clear away after SIGTERM, before SIGKILL. Longer than its own groups have: see end_group.
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# The environment variable that names the process that has started a group.
_STARTER = "KALDI_QUANT_STARTED_BY"


class TerminatedError(BaseException):
    """A signal asks this process to end. It is no Exception, so that no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Process(Protocol):
    """A process that was started as the first of a group of its own."""

    @property
    def pid(self) -> int:
        """Its number, and its group's."""

    @property
    def returncode(self) -> int | None:
        """How it has ended: its status, or a signal's number below 0; None as long as nobody has asked."""

    def poll(self) -> int | None:
        """Asks how it has ended; None while it runs."""

    def wait(self) -> int:
        """Waits until it has ended, and tells how."""


class _Waiting:
    """Signals that have come while something was begun that must be known before it can be cleared away."""

    depth = 0
    came: list[int] = []  # noqa: RUF012 - one for the process, as its signals are


@contextmanager
def signals_raise() -> Iterator[None]:
    """While it is open, SIGTERM and SIGHUP raise TerminatedError, once: clearing up is not disturbed by a second one.

    SIGINT raises KeyboardInterrupt as ever. A signal that is ignored, as SIGHUP by nohup, stays so. Does nothing in
    other threads than the main one, which get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if handler != signal.SIG_IGN]

    def end(number: int, frame: FrameType | None) -> None:
        if _Waiting.depth:
            _Waiting.came.append(number)
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        for other in taken:
            signal.signal(other, signal.SIG_IGN)
        raise TerminatedError(number)

    try:
        for number in taken:
            signal.signal(number, end)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextmanager
def signals_wait() -> Iterator[None]:
    """Around the start of what has to be ended with this process: a signal that comes meanwhile raises at the end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Waiting.depth += 1
    try:
        yield
    finally:
        _Waiting.depth -= 1
        if not _Waiting.depth:
            came, _Waiting.came = _Waiting.came, []
            for number in came:
                signal.raise_signal(number)


def signals_begin_anew() -> None:
    """In a copy of a process: signals do again what they do in a new one. What is ignored stays so."""
    _Waiting.depth, _Waiting.came = 0, []
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def starter_variable() -> dict[str, str]:
    """The environment variable by which what this process starts knows it."""
    return {_STARTER: this_process()}


def start_group(
    command: Sequence[str], output: IO[Any] | int | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a command as the first process of a group of its own.

    It holds the folders that this process holds: nobody takes them over while it runs.

    Args:
        command: a program and its arguments.
        output: where both of its outputs go; by default to this process's.
        environment: variables beside this process's.
    """
    return _start(command, environment, stdout=output, stderr=output)


def start_helper(command: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """As ``start_group``, for a process that is asked by its standard input and answers by its standard output.

    It should end when its input does. That one which calls ``end_with_starter`` also ends with the thread that has
    started it.
    """
    return _start(command, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _start(command: Sequence[str], environment: Mapping[str, str] | None, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        env={**os.environ, **(environment or {}), **starter_variable()},
        start_new_session=True,
        pass_fds=held_locks(),
        **streams,
    )


def run_group(command: Sequence[str], output: IO[Any] | None = None) -> int:
    """Runs a command in a group of its own, as ``wait_for_group`` does. Arguments as above."""
    return wait_for_group(lambda: start_group(command, output))


def wait_for_group(start: Callable[[], Process]) -> int:
    """Starts a group, and waits for its first process.

    Whatever ends the waiting ends the group, and so does a command that fails: what it left behind in the background
    would otherwise go on writing.

    Args:
        start: starts it.

    Returns:
        the status: 0, what the command says, or a signal's number below 0.
    """
    process = None
    try:
        with signals_wait():
            process = start()
        return process.wait()
    finally:
        if process is not None and process.returncode != 0:
            end_group(process)


def end_with_starter() -> None:
    """Ends this process by SIGTERM when the one that has started it is killed, or was before (``man 2 prctl``)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if has_ended(os.environ.get(_STARTER, "")):
            signal.raise_signal(signal.SIGTERM)


def end_group(process: Process, seconds: float = _GRACE_SECONDS) -> None:
    """Ends the group of one process, as ``end_groups`` does."""
    end_groups([process], seconds)


def end_groups(processes: Sequence[Process], seconds: float) -> None:
    """Asks the groups of some processes to end by SIGTERM, and ends by SIGKILL what is left of them after some seconds.

    Args:
        processes: as ``start_group`` or ``start_forked`` has started them.
        seconds: how long their members have; whoever ends groups of groups gives the inner ones less.
    """
    end = time.monotonic() + seconds
    again = 0.0
    while (alive := [process for process in processes if _is_alive(process)]) and (now := time.monotonic()) < end:
        # More than once: a shell that is just starting a program may lose a signal.
        if now >= again:
            for process in alive:
                _signal(process.pid, signal.SIGTERM)
            again = now + 1
        time.sleep(_POLL_SECONDS)
    for process in processes:
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _is_alive(process: Process) -> bool:
    """Whether any member of the group is left; the process itself is no more once it was waited for."""
    process.poll()
    if not _signal(process.pid, 0):
        return False
    # What has ended stays in the group until its parent has asked for its status, which in a container may be never.
    members = [_group_and_state(path) for path in Path("/proc").glob("[0-9]*/stat")]
    return not members or (process.pid, False) in members


def _group_and_state(path: Path) -> tuple[int, bool]:
    """The group of a process, and whether it has ended, from its ``/proc/PID/stat``; 0 for one that is gone."""
    try:
        state, _, group = path.read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return 0, True
    return int(group), state in "ZX"


def _signal(group: int, number: int) -> bool:
    """Sends a signal to a group; False where there is none."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def describe_status(status: int) -> str:
    """How a process has ended, with the signal's name where one has ended it, or a shell says that one did.

    Args:
        status: as ``subprocess`` has it: below 0 for a signal.
    """
    number = -status if status < 0 else status - 128
    name = next((found.name for found in signal.Signals if found == number), None)
    if name is None:
        return f"ended with status {status}"
    advice = " (out of memory?)" if number == signal.SIGKILL else ""
    if status < 0:
        return f"was ended by signal {name}{advice}"
    return f"ended with status {status}, as after signal {name}{advice}"
