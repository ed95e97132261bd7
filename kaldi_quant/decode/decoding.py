"""Log-likelihoods to lattices: checks, splits, runs the jobs that are not done yet, and counts."""

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.decode.backend import UTTERANCE_ENDED, Backend, DecodeTask
from kaldi_quant.decode.checks import check_graph, require_graph
from kaldi_quant.decode.choice import choose_backend
from kaldi_quant.decode.error_rate import remove_scores
from kaldi_quant.decode.jobs import JobFailure
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.decode.split import split_table
from kaldi_quant.errors import DataError
from kaldi_quant.folder_lock import folder_lock
from kaldi_quant.job_log import tail
from kaldi_quant.kaldi.compatibility import check_graph_folder
from kaldi_quant.kaldi.fst_file import FstFile
from kaldi_quant.kaldi.streams import is_pipe
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.made import Made, Sources
from kaldi_quant.progress import Advance, progress

_log = logging.getLogger(__name__)

# Options that do not change a lattice, so that jobs done with others of these need not be done again.
_WITHOUT_EFFECT = ("cmd", "max_bad_share", "allow_pipes", "nj", "backend")


def decode(
    trans_model: str, graph: str, loglikes_rspecifier: str, words: str, out_dir: str, options: DecodeOptions
) -> BadUtterances:
    """Decodes log-likelihoods.

    Leaves ``lat.JOB.gz``, ``num_jobs``, ``log/decode.JOB.log`` and a record of what each job's lattices were made from:
    a rerun does only the jobs that are not done, or of which something has changed.

    Args:
        trans_model: a ``.mdl`` or a bare transition model.
        graph: ``HCLG.fst``.
        loglikes_rspecifier: log-likelihoods, (frames, pdfs) for each utterance.
        words: ``words.txt``.
        out_dir: the decode folder, made where missing.
        options: how to decode.

    Returns:
        How many utterances were decoded and how many left out.

    Raises:
        KaldiQuantError: an input is missing, malformed or of another model; a job failed; too many utterances are bad.
    """
    backend = choose_backend(options.backend)
    model = read_transition_model(trans_model)
    symbols = read_symbol_table(words)
    require_graph(Path(graph))
    check_graph_folder(Path(graph).parent, model, trans_model)
    check_graph(FstFile(graph), graph, model, trans_model, symbols, words)
    folder = Path(out_dir)
    with folder_lock(folder):
        work = folder / ".jobs"
        _make_folder(work)
        table = split_table(loglikes_rspecifier, options.nj, work, options.allow_pipes)
        task = backend.prepare(DecodeTask(trans_model, graph, words, table, folder, options), model.num_pdfs)
        jobs = _Jobs(task, backend)
        jobs.run()
        with atomic_write(folder / "num_jobs", "w") as stream:
            stream.write(f"{table.jobs}\n")
        return jobs.count()


class _Jobs:
    """The jobs of one decoding, and what each was made from."""

    def __init__(self, task: DecodeTask, backend: Backend) -> None:
        self.task = task
        self.backend = backend
        self.made = {
            job: Made(task.lattice(job), _sources(task, job, backend)) for job in range(1, task.table.jobs + 1)
        }
        self.numbers = list(self.made)

    def run(self) -> None:
        """Runs what is not done."""
        reasons = {job: made.why_again() for job, made in self.made.items()}
        waiting = [job for job, reason in reasons.items() if reason is not None]
        for unfinished in self.task.out_dir.glob(".lat.*.tmp"):
            unfinished.unlink(missing_ok=True)
        kept = [self.task.lattice(job) for job in self.numbers if job not in waiting]
        if any(self.task.lattice(job).exists() for job in waiting):
            _log.info("lattices are made again: %s", reasons[waiting[0]])
        if waiting:
            remove_scores(self.task.out_dir)
        for stale in [self.task.out_dir / "num_jobs", *self.task.out_dir.glob("lat.*.gz")]:
            if stale not in kept:
                stale.unlink(missing_ok=True)
        if kept:
            _log.info("%d of %d jobs were done before and are kept", len(kept), len(self.numbers))
        if not waiting:
            return
        for job in waiting:
            self.made[job].begin()
        _log.info("%d jobs, %s back end, logs in %s", len(waiting), self.backend.name, self.task.log("*"))
        known = self.task.table.utterances
        total = sum(len(known[job - 1]) for job in waiting) if known else None
        with progress(total, "decoding") as advance:
            failures = self.backend.run(self.task, waiting, _LogCounter(self.task, waiting, advance).poll)
        for job in waiting:
            if job in [failure.job for failure in failures]:
                continue
            if self.task.lattice(job).exists():
                self.made[job].finish()
            else:
                failures.append(JobFailure(job, f"it left no {self.task.lattice(job)}"))
        if failures:
            raise self._error(failures)

    def _error(self, failures: list[JobFailure]) -> DataError:
        failure = failures[0]
        log = self.task.log(failure.job)
        others = f" ({len(failures)} of {len(self.numbers)} jobs failed)" if len(self.numbers) > 1 else ""
        if "signal" not in failure.reason:
            return DataError(f"decode job {failure.job}{others}: {tail(log) or failure.reason}; see {log}")
        known = self.task.table.utterances
        finished = len(UTTERANCE_ENDED.findall(log.read_bytes())) if log.exists() else 0
        utterances = known[failure.job - 1] if known else []
        at = f"at utterance {utterances[finished]}" if finished < len(utterances) else f"after {finished} utterances"
        return DataError(f"decode job {failure.job}{others}: {failure.reason} {at}; see {log}")

    def count(self) -> BadUtterances:
        """Adds up what the jobs report.

        Raises:
            DataError: too many utterances could not be decoded.
        """
        bad = BadUtterances(self.task.options.max_bad_share)
        for job in self.numbers:
            report = self.backend.report(self.task, job)
            if report is None:
                raise DataError(
                    f"decode job {job}: the log {self.task.log(job)} does not say how many utterances were decoded"
                )
            bad.good += report.decoded
            for utterance, reason in report.left_out.items():
                bad.report(utterance, DataError(reason))
        bad.check()
        return bad


class _LogCounter:
    """Counts decoded utterances in the jobs' logs as they grow."""

    def __init__(self, task: DecodeTask, jobs: list[int], advance: Advance) -> None:
        self._logs = {task.log(job): 0 for job in jobs}
        self._advance = advance

    def poll(self) -> None:
        """Reads what was added since the last call, and moves the progress on."""
        for log, position in self._logs.items():
            if not log.exists() or log.stat().st_size <= position:
                continue
            with open(log, "rb") as stream:
                stream.seek(position)
                added = stream.read()
            # Half a line is left for the next time.
            end = added.rfind(b"\n") + 1
            self._logs[log] = position + end
            count = len(UTTERANCE_ENDED.findall(added[:end]))
            if count:
                self._advance(count)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write the folder {folder.parent}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK):
        raise DataError(f"cannot write the folder {folder}: permission denied")


def _sources(task: DecodeTask, job: int, backend: Backend) -> Sources:
    """What a job's lattices depend on."""
    table = task.table
    settings: dict[str, Any] = {
        f"--{name.replace('_', '-')}": value
        for name, value in asdict(task.options).items()
        if name not in _WITHOUT_EFFECT
    }
    settings["the decoder"] = backend.name
    settings["the job"] = [job, table.jobs, table.utterances[job - 1] if table.utterances else table.rspecifier]
    files = {
        "the transition model": [Path(task.trans_model)],
        "the graph": [Path(task.graph)],
        "the word table": [Path(task.words)],
        "the table of log-likelihoods": [Path(name) for name in table.files if not is_pipe(name)],
        "the decoder's program": backend.programs,
    }
    return Sources(settings, files, table.repeatable)
