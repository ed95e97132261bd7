"""Jobs that are copies of this process (``fork``): what it has imported and loaded they have at once, and share.

A copied process has one thread, the one that has copied it. What another thread held at that moment stays held for
ever: this process must have no other thread, nor any that a library has started. Where it has, or where this system
does not tell, a new interpreter (``start_group``) is the way.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Never

from kaldi_quant.processes import (
    TerminatedError,
    end_with_starter,
    signals_begin_anew,
    signals_raise,
    starter_variable,
    wait_for_group,
)

#: What a job does; what it returns, or gives to ``sys.exit``, is the status that it ends with.
Work = Callable[[], int | None]

_THREADS = Path("/proc/self/task")
_FAILED, _INTERRUPTED = 1, 130
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Forked:
    """A job that runs, as ``subprocess.Popen`` tells of one.

    Args:
        pid: of the process, and of its group.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How the job has ended: its status, or a signal's number below 0; None while it runs."""
        return self._ask(os.WNOHANG)

    def wait(self) -> int:
        """The same, when it has ended."""
        status = self._ask(0)
        assert status is not None
        return status

    def _ask(self, options: int) -> int | None:
        if self.returncode is None:
            process, status = os.waitpid(self.pid, options)
            if process:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def why_not_fork() -> str | None:
    """Why this process cannot be copied safely now; None where it can be."""
    if not hasattr(os, "fork") or not _THREADS.is_dir():
        return "this system does not tell the threads of a process"
    if threading.active_count() > 1 or len(list(_THREADS.iterdir())) > 1:
        return "other threads run in this process"
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        return "this process is not told how others end"
    return None


def start_forked(work: Work, output: IO[Any] | None = None, environment: Mapping[str, str] | None = None) -> Forked:
    """Starts a job as a copy of this process, which is the first of a group of its own.

    As with ``start_group``, it holds the folders that this process holds. It ends with this process. SIGTERM and SIGHUP
    raise TerminatedError in it. It never comes back into what called this function: what is to be cleared away there it
    does not clear away, and it runs nothing that is registered with ``atexit``. So what the work opens it has to close
    (context managers). An exception that the work does not handle is printed, and the status is 1.

    Args:
        work: what it does.
        output: where both of its outputs go; by default to this process's. With one, what is logged goes there, too,
            from warnings on, as in a new interpreter.
        environment: variables beside this process's. Libraries that are loaded have read theirs; only PyTorch is told
            its number of threads (``OMP_NUM_THREADS``).

    Raises:
        RuntimeError: this process cannot be copied (``why_not_fork``).
    """
    reason = why_not_fork()
    if reason is not None:
        raise RuntimeError(f"no copy of this process can be made: {reason}")
    for stream in (sys.stdout, sys.stderr, output):
        if stream is not None:
            stream.flush()  # else the copy would write the same once more
    variables = {**(environment or {}), **starter_variable()}
    begun, begins = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if not pid:
            _run(lambda: _status(work, variables, output, (begun, begins), mask))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(begins)
        # Until the copy has closed its end, too: the group must be there before anybody sends a signal to it.
        os.read(begun, 1)
        os.close(begun)
    return Forked(pid)


def run_forked(work: Work, output: IO[Any] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Runs a job as a copy of this process, as ``wait_for_group`` does. Arguments as above.

    Returns:
        the status: 0, what the job says, or a signal's number below 0.
    """
    return wait_for_group(lambda: start_forked(work, output, environment))


def _run(job: Callable[[], int]) -> Never:
    """Ends this process with the status of what it does, whatever happens."""
    status = _FAILED
    try:
        status = job()
    except SystemExit as error:
        status = _exit_status(error.code)
    except TerminatedError as error:
        status = error.status
        print(f"ended by signal {error}", file=sys.stderr)
    except KeyboardInterrupt:
        status = _INTERRUPTED
        print("interrupted", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the outermost boundary of the process
        traceback.print_exc()
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        except (OSError, ValueError):
            status = status or _FAILED
        finally:
            os._exit(status)


def _status(
    work: Work,
    environment: Mapping[str, str],
    output: IO[Any] | None,
    pipe: tuple[int, int],
    mask: Iterable[int],
) -> int:
    """Makes a job of the copied process, and does the work."""
    os.setsid()
    for end in pipe:
        os.close(end)
    # What is here already is not looked through for garbage: that takes time, and would copy the memory that is shared.
    gc.freeze()
    signals_begin_anew()
    os.environ.update(environment)
    if output is not None:
        _redirect(output)
    torch, threads = sys.modules.get("torch"), environment.get("OMP_NUM_THREADS")
    if torch is not None and threads is not None:
        torch.set_num_threads(int(threads))
    with signals_raise():
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        end_with_starter()
        return work() or 0


def _redirect(output: IO[Any]) -> None:
    """Sends all that is written and logged from now on to a file."""
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    encoding = sys.stderr.encoding
    sys.stdout = open(1, "w", encoding=encoding, errors=sys.stdout.errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    logger = logging.getLogger("kaldi_quant")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def _exit_status(code: object) -> int:
    """What ``sys.exit`` makes of its argument."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return _FAILED
