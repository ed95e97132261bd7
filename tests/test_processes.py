"""What a signal leaves behind: nothing."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaldi_quant.atomic import atomic_write
from kaldi_quant.job_log import first_lines, last_lines, status_of
from kaldi_quant.processes import (
    TerminatedError,
    describe_status,
    end_groups,
    run_group,
    signals_raise,
    signals_wait,
    start_group,
)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Signals have their effect, also where the tests were started by nohup or in the background of a script."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_clears_away_what_was_begun(number: signal.Signals, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    temporary = tempfile.TemporaryDirectory(dir=tmp_path)
    with (
        pytest.raises(TerminatedError) as ended,
        signals_raise(),
        temporary,
        atomic_write(tmp_path / "result") as stream,
    ):
        stream.write(b"half")
        os.kill(os.getpid(), number)
    assert ended.value.status == 128 + number and str(ended.value) == number.name
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_disturb(tmp_path: Path) -> None:
    cleared = []
    with pytest.raises(TerminatedError), signals_raise():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleared.append(True)
    assert cleared == [True]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, TerminatedError), (signal.SIGINT, KeyboardInterrupt)])
def test_signals_wait_until_what_was_started_is_known(number: signal.Signals, error: type[BaseException]) -> None:
    done = []
    with pytest.raises(error), signals_raise():
        with signals_wait():
            os.kill(os.getpid(), number)
            done.append("started")
        done.append("not reached")
    assert done == ["started"]
    with signals_wait():
        done.append("again")
    assert done == ["started", "again"]


def test_other_threads_get_no_signals() -> None:
    results = []

    def work() -> None:
        with signals_raise():
            results.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [signal.SIG_DFL]


def test_a_process_that_is_ended_ends_what_it_runs(tmp_path: Path) -> None:
    program = (
        "from kaldi_quant.processes import *\n"
        "try:\n"
        "    with signals_raise():\n"
        f"        run_group(['bash', '-c', 'sleep 60 & echo $! >{tmp_path}/child; echo; wait'])\n"
        "except TerminatedError as error:\n"
        "    raise SystemExit(error.status)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(20) == 143
    assert not runs((tmp_path / "child").read_text().strip())


def test_groups_that_do_not_heed_a_signal_end_together() -> None:
    groups = [
        start_group(["bash", "-c", "trap '' TERM; echo; while :; do sleep 1; done"], subprocess.PIPE) for _ in range(6)
    ]
    for group in groups:
        assert group.stdout is not None
        group.stdout.readline()
        group.stdout.close()
    begin = time.monotonic()
    end_groups(groups, 1)
    assert 1 <= time.monotonic() - begin < 6
    assert [group.returncode for group in groups] == [-signal.SIGKILL] * 6


def test_what_a_failed_command_left_in_the_background_ends(tmp_path: Path) -> None:
    child = tmp_path / "child"
    assert run_group(["bash", "-c", f"sleep 60 & echo $! >{child}; exit 3"]) == 3
    assert not runs(child.read_text().strip())
    assert run_group(["true"]) == 0
    assert run_group(["bash", "-c", "kill -SEGV $$"]) == -signal.SIGSEGV


def runs(process: str) -> bool:
    """Whether a process runs; in containers those that have ended may stay in the table for ever."""
    try:
        return "\nState:\tZ" not in Path("/proc", process, "status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (3, "ended with status 3"),
        (200, "ended with status 200"),
        (-signal.SIGSEGV, "was ended by signal SIGSEGV"),
        (-signal.SIGKILL, "was ended by signal SIGKILL (out of memory?)"),
        (128 + signal.SIGTERM, "ended with status 143, as after signal SIGTERM"),
    ],
)
def test_how_a_process_has_ended(status: int, text: str) -> None:
    assert describe_status(status) == text


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (last_lines(0, 1), 0),
        (last_lines(1, 1), 1),
        (last_lines(-9, 1), -9),
        ("# Finished at Sat Nov 28 08:47:45 UTC 2026 with status 0\n", 0),
        ("# Finished at Sat Nov 28 08:47:45 UTC 2026 with status 1\n", 1),
        (last_lines(1, 1) + last_lines(0, 1), 0),
        ("code 0, said the program\n", None),
    ],
)
def test_logs_say_how_their_command_has_ended(last: str, status: int | None, tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert status_of(log) is None
    log.write_text(first_lines("program") + "text\n" * 3000 + last)
    assert status_of(log) == status
