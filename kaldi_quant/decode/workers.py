"""Jobs of the embedded back end on this machine: ``python -m kaldi_quant.decode.workers SPECIFICATION JOB ...``.

The graph is loaded once, and each job is a copy of this process that shares it. Where this process cannot be copied,
each job is a new process that loads the graph itself.
"""

import json
import sys
from pathlib import Path
from typing import Any

from kaldi_quant.decode.embedded_decoder import say
from kaldi_quant.decode.jobs import JobArray, JobFailure, run_copies, run_jobs
from kaldi_quant.decode.split import JOB
from kaldi_quant.decode.worker import Worker
from kaldi_quant.errors import KaldiQuantError
from kaldi_quant.forked import why_not_fork
from kaldi_quant.processes import TerminatedError, end_with_starter, signals_raise


def main() -> int:
    """Does the jobs that the command line names; their logs tell how each ended."""
    path = sys.argv[1]
    specification = json.loads(Path(path).read_text("utf-8"))
    command = [sys.executable, "-m", "kaldi_quant.decode.worker", path, JOB]
    array = JobArray(JOB, [int(number) for number in sys.argv[2:]], specification["log"], command, {})
    end_with_starter()
    try:
        with signals_raise():
            failures = run_jobs(array, None, lambda: None) if why_not_fork() else _run(array, specification)
    except TerminatedError as error:
        return error.status
    return 1 if failures else 0


def _run(array: JobArray, specification: dict[str, Any]) -> list[JobFailure]:
    try:
        work = Worker(specification).run
    except KaldiQuantError as error:
        reason = str(error)

        def work(job: int) -> int:
            say(reason)
            return 1

    return run_copies(array, work)


if __name__ == "__main__":
    sys.exit(main())
