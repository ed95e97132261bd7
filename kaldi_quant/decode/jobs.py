"""Runs numbered jobs, one log file each: as processes on this machine, or through run.pl, queue.pl or slurm.pl.

A command is a list of words, as Kaldi's recipes give them to ``$cmd``: the job's number stands where the name of the
variable (``JOB``) is, and ``|``, ``>`` and ``&&`` are shell operators.

Jobs on this machine that need the same large thing in memory can be copies of one process, which has loaded it
(``run_together`` starts that process, which calls ``run_copies``).
"""

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from kaldi_quant.cores import cores
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.forked import start_forked
from kaldi_quant.job_log import OPERATORS, command_line, first_lines, last_lines, status_of
from kaldi_quant.kaldi.text import encode
from kaldi_quant.processes import Process, describe_status, end_group, end_groups, signals_wait, start_group

# What run.pl and its like can carry: they put words without spaces into a shell command as they are, others in quotes.
_CARRIED = re.compile(r"[\w\s@%+=:,./|<>&-]*", re.ASCII)
_POLL_SECONDS = 0.05
# What a job has to clear away after SIGTERM: less than whoever may be ending this process gives it.
_GRACE_SECONDS = 4.0
_GRACE_OF_COPIES_SECONDS = 2.0  # less than the process has that they are copies of

Poll = Callable[[], None]


@dataclass(frozen=True)
class JobFailure:
    """A job that did not end well: its number and why."""

    job: int
    reason: str


@dataclass(frozen=True)
class JobArray:
    """Jobs that run the same command.

    Args:
        variable: what stands for the number in ``command`` and ``log``, such as ``JOB``.
        numbers: the jobs to run.
        log: the log file's path, with the variable in it.
        command: the words.
        environment: variables that the command needs.
    """

    variable: str
    numbers: list[int]
    log: str
    command: list[str]
    environment: dict[str, str]

    def log_of(self, number: int) -> Path:
        """The log file of one job."""
        return Path(self.log.replace(self.variable, str(number)))

    def command_of(self, number: int) -> list[str]:
        """The command of one job."""
        return [word.replace(self.variable, str(number)) for word in self.command]


def run_jobs(array: JobArray, cmd: str | None, poll: Poll) -> list[JobFailure]:
    """Runs all jobs and waits for them.

    Args:
        array: the jobs.
        cmd: ``run.pl`` and its like with options; None for processes on this machine, as many at a time as there are
            cores for this one, which is also what becomes of ``run.pl`` where there is none.
        poll: called again and again while jobs run.

    Returns:
        The jobs that failed.

    Raises:
        UsageError: ``cmd`` is not found or cannot carry the command.
        DataError: a log cannot be written.
    """
    _remove_logs(array)
    return _run_here(array, _start, poll) if runs_here(cmd) else _run_with(cast(str, cmd), array, poll)


def runs_here(cmd: str | None) -> bool:
    """Whether jobs are processes that this one starts."""
    return not cmd or (shlex.split(cmd)[0] == "run.pl" and _locate("run.pl") is None)


def run_together(array: JobArray, command: list[str], poll: Poll) -> list[JobFailure]:
    """Runs all jobs on this machine as copies of one process, and waits for them.

    Args:
        array: the jobs; ``command`` is what would do a job alone, for its log.
        command: starts the process, which is given the jobs' numbers and calls ``run_copies``.
        poll: called again and again while jobs run.

    Returns:
        The jobs that failed.

    Raises:
        DataError: a log cannot be written.
    """
    _remove_logs(array)
    numbers = array.numbers
    with array.log_of(numbers[0]).open("ab") as log:  # what goes wrong before any job runs
        status = _wait(lambda: start_group([*command, *map(str, numbers)], log, array.environment), poll)
    if not status:
        return []
    ended = {number: status_of(array.log_of(number)) for number in numbers}
    reasons = {number: status if how is None else how for number, how in ended.items()}
    return [JobFailure(number, f"it {describe_status(how)}") for number, how in reasons.items() if how]


def run_copies(array: JobArray, work: Callable[[int], int]) -> list[JobFailure]:
    """Runs all jobs as copies of this process, as many at a time as there are cores for it, and waits for them.

    Args:
        array: the jobs.
        work: does the job of a number, and returns its status.

    Returns:
        The jobs that failed.
    """

    def start(array: JobArray, number: int) -> _Running:
        return _begin(array, number, lambda log: start_forked(lambda: work(number), log))

    return _run_here(array, start, lambda: None, _GRACE_OF_COPIES_SECONDS)


def _remove_logs(array: JobArray) -> None:
    for number in array.numbers:
        try:
            array.log_of(number).parent.mkdir(parents=True, exist_ok=True)
            array.log_of(number).unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"cannot write {array.log_of(number)}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Running:
    """A job that runs, since when, and its log."""

    process: Process
    begin: float
    log: Path

    def finish(self, status: int | None) -> None:
        """Writes the log's last lines."""
        assert status is not None
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(last_lines(status, time.monotonic() - self.begin))


def _run_here(
    array: JobArray, start: Callable[[JobArray, int], _Running], poll: Poll, grace: float = _GRACE_SECONDS
) -> list[JobFailure]:
    waiting, running, failures = list(array.numbers), dict[int, _Running](), []
    try:
        while waiting or running:
            while waiting and len(running) < cores():
                number = waiting.pop(0)
                with signals_wait():
                    running[number] = start(array, number)
            for number, job in list(running.items()):
                if (status := job.process.poll()) is not None:
                    del running[number]
                    job.finish(status)
                    if status:
                        failures.append(JobFailure(number, f"it {describe_status(status)}"))
            poll()
            time.sleep(_POLL_SECONDS)
    finally:
        end_groups([job.process for job in running.values()], grace)
        for job in running.values():
            job.finish(job.process.returncode)
    return sorted(failures, key=lambda failure: failure.job)


def _start(array: JobArray, number: int) -> _Running:
    words = array.command_of(number)
    shell = ["bash", "-c", f"set -o pipefail; {command_line(words)}"]
    # One word after another without an operator needs no shell, whose status would hide the signal that ends it.
    command = shell if any(word in OPERATORS for word in words) else words

    def start(log: IO[bytes]) -> Process:
        try:
            return start_group(command, log, array.environment)
        except OSError as error:
            raise DataError(f"cannot run {words[0]}: {error.strerror or error}") from error

    return _begin(array, number, start)


def _begin(array: JobArray, number: int, start: Callable[[IO[bytes]], Process]) -> _Running:
    path = array.log_of(number)
    with path.open("ab") as log:
        log.write(encode(first_lines(command_line(array.command_of(number)))))
        log.flush()
        return _Running(start(log), time.monotonic(), path)


def _wait(start: Callable[[], Process], poll: Poll) -> int:
    """Starts a process, waits for it, and returns its status; whatever ends the waiting ends its group."""
    process = None
    try:
        with signals_wait():
            process = start()
        while (status := process.poll()) is None:
            poll()
            time.sleep(_POLL_SECONDS)
    finally:
        if process is not None and process.returncode is None:
            end_group(process, _GRACE_SECONDS)
    poll()
    return status


def _run_with(cmd: str, array: JobArray, poll: Poll) -> list[JobFailure]:
    program, *options = shlex.split(cmd)
    numbers = array.numbers
    contiguous = numbers == list(range(numbers[0], numbers[-1] + 1))
    spans = [(numbers[0], numbers[-1])] if contiguous else [(number, number) for number in numbers]
    words = [f"{name}={value}" for name, value in array.environment.items()] + array.command
    words = ["env", *words] if array.environment else words
    for word in [array.log, *words]:
        if not _CARRIED.fullmatch(word):
            raise UsageError(
                f"--cmd {program}: {word!r} has characters that a shell would change; use other file names"
            )
    failures = []
    for first, last in spans:
        command = [find_program(program), *options, f"{array.variable}={first}:{last}", array.log, *words]
        if _wait(partial(start_group, command, subprocess.DEVNULL), poll):
            ended = {number: status_of(array.log_of(number)) for number in range(first, last + 1)}
            failed = [number for number, status in ended.items() if status != 0] or [first]
            failures += [JobFailure(number, f"{program} reports that it {_how(ended[number])}") for number in failed]
    return failures


def find_program(name: str) -> str:
    """The path of queue.pl and its like: from PATH, or from Kaldi's own recipes.

    Raises:
        UsageError: it is nowhere.
    """
    found = _locate(name)
    if found is None:
        where = "on PATH or in Kaldi's recipes" if os.environ.get("KALDI_ROOT") else "on PATH (KALDI_ROOT is not set)"
        raise UsageError(f"--cmd {name}: not found {where}")
    return found


def _locate(name: str) -> str | None:
    root = os.environ.get("KALDI_ROOT", "")
    recipes = [os.path.join(root, "egs/wsj/s5", folder) for folder in ("utils", "utils/parallel")] if root else []
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(recipes) or None)


def _how(status: int | None) -> str:
    return describe_status(status) if status else "failed"
