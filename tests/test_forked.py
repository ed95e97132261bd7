"""Jobs that are copies of the running process."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kaldi_quant import forked
from kaldi_quant.forked import start_forked, why_not_fork

# What is tested runs in a process of its own: that of the tests may have threads.
_BEGIN = """
import logging, os, signal, subprocess, sys, threading, time
from pathlib import Path
from kaldi_quant.folder_lock import folder_lock
from kaldi_quant.forked import run_forked, start_forked, why_not_fork
from kaldi_quant.processes import TerminatedError, end_groups, signals_raise, signals_wait
folder = Path(sys.argv[1])
# Also where the tests were started by nohup or in the background of a script.
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def run(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that forks; ``folder`` is its folder."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-c", _BEGIN + program, str(folder)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)


def out(program: str, folder: Path, **variables: str) -> list[str]:
    """The lines that a program prints that succeeds."""
    done = run(program, folder, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_how_a_job_ends(tmp_path: Path) -> None:
    program = """
def fails(): raise ValueError("no reason")
def signalled(number): os.kill(os.getpid(), number); time.sleep(9)
works = [lambda: None, lambda: 3, lambda: sys.exit(), lambda: sys.exit(4), lambda: sys.exit("text"), fails,
         lambda: signalled(signal.SIGTERM), lambda: signalled(signal.SIGHUP), lambda: signalled(signal.SIGINT),
         lambda: signalled(signal.SIGKILL)]
print("before", end=" ")
try:
    with (folder / "log").open("w") as log:
        print(*(run_forked(work, log) for work in works))
finally:
    print("in the starter's stack")
"""
    assert out(program, tmp_path) == ["before 0 3 0 4 1 1 143 129 130 -9", "in the starter's stack"]
    log = (tmp_path / "log").read_text().splitlines()
    assert log[0] == "text" and log[1].startswith("Traceback") and "ValueError: no reason" in log
    assert log[-3:] == ["ended by signal SIGTERM", "ended by signal SIGHUP", "interrupted"]


def test_what_a_job_writes_goes_to_its_log(tmp_path: Path) -> None:
    program = """
logger = logging.getLogger("kaldi_quant")
logger.addHandler(logging.FileHandler(folder / "of the starter"))
logger.setLevel(logging.DEBUG)
def work():
    print("printed \u00fc")
    sys.stdout.flush()
    print("said", file=sys.stderr)
    logger.info("not worth a line")
    logger.warning("warned")
    os.write(2, b"written by a library\\n")
    subprocess.run(["echo", "by a program"])
    print("last")
with (folder / "log").open("w") as log:
    log.write("first\\n")
    job = start_forked(work, log)
    print(job.wait(), job.poll(), job.returncode)
print("not in the log")
"""
    assert out(program, tmp_path) == ["0 0 0", "not in the log"]
    said = ["first", "printed \u00fc", "said", "warned", "written by a library", "by a program", "last"]
    assert (tmp_path / "log").read_text().splitlines() == said
    assert (tmp_path / "of the starter").read_text() == ""


def test_without_a_log_outputs_and_loggers_are_the_starters(tmp_path: Path) -> None:
    program = """
logger = logging.getLogger("kaldi_quant")
logger.addHandler(logging.StreamHandler(sys.stdout))
print(run_forked(lambda: logger.warning("of the job")))
"""
    assert out(program, tmp_path) == ["of the job", "0"]


def test_a_job_has_what_is_loaded_and_changes_nothing_here(tmp_path: Path) -> None:
    program = """
loaded = {"graph": object()}
def work():
    loaded.clear()
    os.environ["CHANGED"] = "yes"
    with folder_lock(folder):
        pass
with folder_lock(folder):
    print(run_forked(work, environment={"A": "b"}), len(loaded), os.environ.get("CHANGED"), os.environ.get("A"))
print(run_forked(lambda: subprocess.run(["sh", "-c", "exit $A"]).returncode, environment={"A": "7"}))
"""
    assert out(program, tmp_path) == ["0 1 None None", "7"]


def test_groups_of_jobs_end_together(tmp_path: Path) -> None:
    program = """
import tempfile
def heeds(number):
    with tempfile.TemporaryDirectory(dir=folder):
        (folder / f"begun.{number}").touch()
        subprocess.run(["sleep", "60"])
def ignores():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "begun.3").touch()
    time.sleep(60)
jobs = [start_forked(lambda: heeds(1)), start_forked(lambda: heeds(2)), start_forked(ignores)]
print(*(job.poll() for job in jobs), *(os.getpgid(job.pid) == os.getsid(job.pid) == job.pid for job in jobs))
while len(list(folder.glob("begun.*"))) < 3:
    time.sleep(0.01)
end_groups(jobs, 0.5)
print(*(job.returncode for job in jobs))
"""
    done = run(program, tmp_path)
    assert done.stdout.splitlines() == ["None None None True True True", "143 143 -9"]
    assert done.stderr.splitlines() == ["ended by signal SIGTERM"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun.1", "begun.2", "begun.3"]


def test_a_job_ends_with_its_starter_and_holds_its_folders_until_then(tmp_path: Path) -> None:
    program = """
def work():
    try:
        (folder / "begun").write_text(str(os.getpid()))
        time.sleep(60)
    finally:
        (folder / "cleared").touch()
        time.sleep(0.3)
with folder_lock(folder):
    start_forked(work)
print("given back", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", _BEGIN + program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as starter:
        assert starter.stdout is not None
        starter.stdout.readline()
        wait_for(tmp_path / "begun")
        assert subprocess.run(["flock", "-n", tmp_path / ".lock", "true"], check=False).returncode == 1
        starter.kill()
    wait_for(tmp_path / "cleared")
    assert subprocess.run(["flock", "-w", "10", tmp_path / ".lock", "true"], check=False).returncode == 0


def wait_for(path: Path) -> None:
    """Waits until a file is there."""
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


def test_signals_that_wait_are_the_starters(tmp_path: Path) -> None:
    program = """
try:
    with signals_raise(), signals_wait():
        os.kill(os.getpid(), signal.SIGTERM)
        job = start_forked(lambda: 5)
except TerminatedError as error:
    print(error, job.wait())
"""
    assert out(program, tmp_path) == ["SIGTERM 5"]


def test_pytorch_is_told_the_number_of_threads(tmp_path: Path) -> None:
    program = """
import torch
torch.set_num_threads(1)
def threads():
    torch.ones(1 << 20).sum()
    return 10 * torch.get_num_threads() + len(os.listdir("/proc/self/task"))
print(run_forked(threads, environment={"OMP_NUM_THREADS": "2"}) // 10, run_forked(threads), why_not_fork())
"""
    assert out(program, tmp_path) == ["2 11 None"]


def test_a_process_with_threads_is_not_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert why_not_fork() == "other threads run in this process"
    with pytest.raises(RuntimeError, match="no copy of this process can be made: other threads run"):
        start_forked(lambda: None)
    stop.set()
    thread.join()
    libraries = "import numpy\nprint(threading.active_count(), why_not_fork())"
    assert out(libraries, tmp_path, OPENBLAS_NUM_THREADS="2") == ["1 other threads run in this process"]
    assert out(libraries, tmp_path) == ["1 None"]
    ignored = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nprint(why_not_fork())"
    assert out(ignored, tmp_path) == ["this process is not told how others end"]
    monkeypatch.setattr(forked, "_THREADS", tmp_path / "none")
    assert why_not_fork() == "this system does not tell the threads of a process"
    monkeypatch.undo()
    monkeypatch.delattr(os, "fork")
    assert why_not_fork() == "this system does not tell the threads of a process"
