"""Numbered jobs and their logs; tables divided among them."""

import os
import re
import stat
import sys
import time
from pathlib import Path

import pytest

from kaldi_quant.decode.jobs import JobArray, JobFailure, run_jobs, run_together
from kaldi_quant.decode.split import leave_out, split_table
from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.job_log import tail

from .conftest import ROOT, Job


def array(folder: Path, *command: str, numbers: tuple[int, ...] = (1, 2), **environment: str) -> JobArray:
    return JobArray("JOB", list(numbers), f"{folder}/log/x.JOB.log", list(command), environment)


def test_jobs_run_with_their_number_and_a_log_each(tmp_path: Path) -> None:
    jobs = array(tmp_path, "bash", "-c", "echo $GREETING $0", "JOB", GREETING="hello")
    polled = []
    assert run_jobs(jobs, None, lambda: polled.append(1)) == []
    logs = [jobs.log_of(number).read_text() for number in (1, 2)]
    assert "\nhello 1\n" in logs[0] and "\nhello 2\n" in logs[1] and polled
    # As run.pl writes them.
    date = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"
    first = rf"# bash -c 'echo \$GREETING \$0' 1\n# Started at {date}\n#\n"
    last = rf"# Accounting: time=\d+ threads=1\n# Ended \(code 0\) at {date}, elapsed time \d+ seconds\n"
    assert re.fullmatch(f"{first}hello 1\n{last}", logs[0])
    assert tail(jobs.log_of(2)) == "hello 2" and tail(tmp_path / "absent") == ""


def test_operators_and_words_that_need_quotes(tmp_path: Path) -> None:
    jobs = array(
        tmp_path, "echo", "a  'b' $HOME | c", "|", "tr", "a-z", "A-Z", ">", f"{tmp_path}/JOB.txt", "&&", "echo", "done"
    )
    assert run_jobs(jobs, None, lambda: None) == []
    assert (tmp_path / "2.txt").read_text() == "A  'B' $HOME | C\n"


def test_failures_are_told_apart(tmp_path: Path) -> None:
    assert run_jobs(array(tmp_path, "test", "JOB", "-eq", "1"), None, lambda: None) == [
        JobFailure(2, "it ended with status 1")
    ]
    assert run_jobs(array(tmp_path, "false", "|", "true", numbers=(3,)), None, lambda: None)[0].job == 3
    killed = run_jobs(array(tmp_path, "bash", "-c", "kill -9 $$", numbers=(1,)), None, lambda: None)
    assert killed == [JobFailure(1, "it was ended by signal SIGKILL (out of memory?)")]
    (in_a_pipe,) = run_jobs(array(tmp_path, "bash", "-c", "kill -9 $$", "|", "cat", numbers=(1,)), None, lambda: None)
    assert in_a_pipe.reason == "it ended with status 137, as after signal SIGKILL (out of memory?)"
    with pytest.raises(DataError, match="cannot run no-such-program"):
        run_jobs(array(tmp_path, "no-such-program"), None, lambda: None)


@pytest.mark.parametrize("cmd", [None, "queue.pl"])
def test_what_ends_the_waiting_ends_the_jobs_and_their_children(
    cmd: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "queue.pl"
    program.write_text('#!/bin/bash\nshift 2\n"$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "job").write_text(f"sleep 60 & echo $! >{tmp_path}/child; wait\n")

    def interrupt() -> None:
        if (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip():
            raise KeyboardInterrupt

    jobs = array(tmp_path, "bash", f"{tmp_path}/job", numbers=(1,))
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, cmd, interrupt)
    assert time.monotonic() - begin < 30
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    assert not child.exists() or " Z " in child.read_text()
    if cmd is None:
        assert "# Ended (code 0; signal 15) at" in jobs.log_of(1).read_text()


def test_run_pl_and_its_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "queue.pl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nexit $(cat {tmp_path}/status)\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "status").write_text("0")
    jobs = array(tmp_path, "latgen", "ark:|gzip -c >x.JOB.gz", numbers=(2, 3), NAME="value")
    assert run_jobs(jobs, "queue.pl --mem '4 G'", lambda: None) == []
    expected = ["--mem", "4 G", "JOB=2:3", jobs.log, "env", "NAME=value", "latgen", "ark:|gzip -c >x.JOB.gz"]
    assert (tmp_path / "arguments").read_text().splitlines() == expected
    (tmp_path / "status").write_text("1")
    assert [failure.job for failure in run_jobs(jobs, "queue.pl", lambda: None)] == [2, 3]
    # run.pl writes into the logs how jobs ended.
    program.write_text(f"#!/bin/bash\necho '# Ended (code 0; signal 9) at now' >{jobs.log_of(3)}\nexit 1\n")
    reasons = [
        "queue.pl reports that it failed",
        "queue.pl reports that it was ended by signal SIGKILL (out of memory?)",
    ]
    assert run_jobs(jobs, "queue.pl", lambda: None) == [JobFailure(2, reasons[0]), JobFailure(3, reasons[1])]
    with pytest.raises(UsageError, match="characters that a shell would change"):
        run_jobs(array(tmp_path, "latgen", "$(rm x)"), "queue.pl", lambda: None)


def test_tables_are_divided_into_consecutive_runs(job: Job, tmp_path: Path) -> None:
    table = split_table(f"ark:{job.loglikes}", 3, tmp_path, allow_pipes=False)
    assert table.jobs == 3 and table.repeatable and [len(part) for part in table.utterances] == [2, 1, 1]
    assert table.of(2) == f"scp:{tmp_path}/loglikes.2.scp"
    assert (tmp_path / "loglikes.2.scp").read_text().split()[0] == "test000-002"
    assert split_table(f"ark:{job.loglikes}", 50, tmp_path, allow_pipes=False).jobs == 4
    fewer = leave_out(table, {"test000-000", "test000-003"})
    assert fewer.jobs == 2 and fewer.utterances == [["test000-001"], ["test000-002"]] and fewer.files == table.files
    with pytest.raises(DataError, match="none of the 4 utterances"):
        leave_out(table, {f"test000-00{number}" for number in range(4)})


def test_scp_entries_keep_place_and_range(tmp_path: Path) -> None:
    (tmp_path / "in.scp").write_text("a /x/y.ark:17[0:3]\nb cat z |\nc /x/w.ark\n")
    table = split_table(f"scp,p:{tmp_path}/in.scp", 2, tmp_path, allow_pipes=True)
    assert table.rspecifier == f"scp,p:{tmp_path}/loglikes.JOB.scp" and not table.repeatable
    with pytest.raises(UsageError, match=r"in.scp, line 2: the command 'cat z \|' is not run: give --allow-pipes"):
        split_table(f"scp:{tmp_path}/in.scp", 2, tmp_path, allow_pipes=False)
    lines = [(tmp_path / f"loglikes.{number}.scp").read_text() for number in (1, 2)]
    assert lines == ["a /x/y.ark:17[0:3]\nb cat z |\n", "c /x/w.ark\n"]
    assert table.files == [f"{tmp_path}/in.scp", "/x/y.ark", "/x/w.ark"]


def test_what_cannot_be_divided(tmp_path: Path) -> None:
    for rspecifier in ("ark:-", "ark:cat x |"):
        table = split_table(rspecifier, 4, tmp_path, allow_pipes=True)
        assert (table.jobs, table.rspecifier, table.repeatable) == (1, rspecifier, False)
    with pytest.raises(DataError, match=r"absent.ark: cannot be read"):
        split_table(f"ark:{tmp_path}/absent.ark", 4, tmp_path, allow_pipes=False)
    (tmp_path / "empty.ark").write_bytes(b"")
    with pytest.raises(FormatError, match="the archive is empty"):
        split_table(f"ark:{tmp_path}/empty.ark", 4, tmp_path, allow_pipes=False)
    with pytest.raises(UsageError):
        split_table("loglikes.ark", 4, tmp_path, allow_pipes=False)


# Runs its jobs as copies of itself, which share what it has loaded.
_TOGETHER = """
import os, sys, time
from kaldi_quant.decode.jobs import JobArray, run_copies
from kaldi_quant.processes import end_with_starter, signals_raise
log, action, numbers = sys.argv[1], sys.argv[2], [int(number) for number in sys.argv[3:]]
loaded = {"by": os.getpid()}
def work(number):
    print(f"job {number}", file=sys.stderr, flush=True)
    assert loaded["by"] == os.getppid()
    return eval(action) or 0
print("before any job", file=sys.stderr, flush=True)
assert action != "broken"
end_with_starter()
with signals_raise():
    sys.exit(1 if run_copies(JobArray("JOB", numbers, log, ["do", "JOB"], {}), work) else 0)
"""


def together(folder: Path, action: str, numbers: tuple[int, ...] = (1, 2, 4)) -> list[JobFailure]:
    jobs = array(folder, "do", "JOB", numbers=numbers, OPENBLAS_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    return run_together(jobs, [sys.executable, "-c", _TOGETHER, jobs.log, action], lambda: None)


def test_jobs_that_are_copies_have_a_log_each(tmp_path: Path) -> None:
    assert together(tmp_path, "None") == []
    logs = [(tmp_path / "log" / f"x.{number}.log").read_text() for number in (1, 2, 4)]
    assert logs[0].startswith("before any job\n# do 1\n# Started at ") and logs[1].startswith("# do 2\n# Started at ")
    for number, log in zip((1, 2, 4), logs, strict=True):
        assert f"\n#\njob {number}\n# Accounting" in log and "# Ended (code 0) at " in log


def test_failures_of_jobs_that_are_copies_are_told_apart(tmp_path: Path) -> None:
    action = "number == 2 and 3 or number == 4 and os.kill(os.getpid(), 11)"
    assert together(tmp_path, action) == [
        JobFailure(2, "it ended with status 3"),
        JobFailure(4, "it was ended by signal SIGSEGV"),
    ]
    assert "# Ended (code 0; signal 11)" in (tmp_path / "log" / "x.4.log").read_text()
    broken = together(tmp_path, "broken")
    assert broken == [JobFailure(number, "it ended with status 1") for number in (1, 2, 4)]
    assert tail(tmp_path / "log" / "x.1.log") == "AssertionError"
    # What they are copies of is ended: those that it has seen end well have ended well.
    slow = together(tmp_path, "number > 1 and (os.kill(os.getppid(), 9), time.sleep(60))", numbers=(1, 2))
    assert JobFailure(2, "it was ended by signal SIGKILL (out of memory?)") in slow


def test_what_ends_the_waiting_ends_the_copies(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def stop() -> None:
        if begun.exists():
            raise KeyboardInterrupt

    jobs = array(tmp_path, "do", "JOB", numbers=(1,), OPENBLAS_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    action = f"open({str(begun)!r}, 'w').write(str(os.getpid())) and time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        run_together(jobs, [sys.executable, "-c", _TOGETHER, jobs.log, action], stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
    assert "ended by signal SIGTERM" in jobs.log_of(1).read_text()
    assert "# Ended (code 143) at" in jobs.log_of(1).read_text(), "it was waited for"
