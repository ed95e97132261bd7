"""Log-likelihoods to lattices: checks, splits, runs the jobs that are not done yet, and counts."""

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.decode.backend import UTTERANCE_ENDED, Backend, DecodeTask
from kaldi_quant.decode.checks import check_graph
from kaldi_quant.decode.choice import choose_backend
from kaldi_quant.decode.error_rate import ERROR_RATES
from kaldi_quant.decode.jobs import JobFailure, tail
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.decode.split import SplitTable, split_table
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst import read_fst
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.progress import Advance, progress

_log = logging.getLogger(__name__)

# Options that do not change a lattice, so that jobs done with others of these need not be done again.
_WITHOUT_EFFECT = ("cmd", "max_bad_share", "allow_pipes")


def decode(
    trans_model: str, graph: str, loglikes_rspecifier: str, words: str, out_dir: str, options: DecodeOptions
) -> BadUtterances:
    """Decodes log-likelihoods.

    Leaves ``lat.JOB.gz``, ``num_jobs``, ``log/decode.JOB.log`` and, under ``.jobs``, a marker for each finished job
    that holds a fingerprint of options and inputs: a rerun does only the jobs whose marker is missing or holds another.

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
    _require_graph(Path(graph))
    check_graph(read_fst(graph), graph, model, trans_model, symbols, words)
    folder = Path(out_dir)
    work = folder / ".jobs"
    _make_folder(work)
    table = split_table(loglikes_rspecifier, options.nj, work, options.allow_pipes)
    task = backend.prepare(DecodeTask(trans_model, graph, words, table, folder, options), model.num_pdfs)
    jobs = _Jobs(task, backend, _fingerprint(task, loglikes_rspecifier, backend))
    jobs.run()
    with atomic_write(folder / "num_jobs", "w") as stream:
        stream.write(f"{table.jobs}\n")
    return jobs.count()


class _Jobs:
    """The jobs of one decoding and their markers."""

    def __init__(self, task: DecodeTask, backend: Backend, fingerprint: str) -> None:
        self.task = task
        self.backend = backend
        self.fingerprint = fingerprint
        self.numbers = list(range(1, task.table.jobs + 1))

    def _marker(self, job: int) -> Path:
        return self.task.out_dir / ".jobs" / f"decode.{job}.done"

    def _is_done(self, job: int) -> bool:
        marker = self._marker(job)
        if not self.task.table.repeatable:
            return False
        return self.task.lattice(job).exists() and marker.exists() and marker.read_text() == self.fingerprint

    def run(self) -> None:
        """Runs what is not done."""
        waiting = [job for job in self.numbers if not self._is_done(job)]
        for unfinished in self.task.out_dir.glob(".lat.*.tmp"):
            unfinished.unlink(missing_ok=True)
        for stale in [self.task.out_dir / "num_jobs", *self.task.out_dir.glob("lat.*.gz")]:
            if stale not in [self.task.lattice(job) for job in self.numbers if job not in waiting]:
                stale.unlink(missing_ok=True)
        for job in waiting:
            self._marker(job).unlink(missing_ok=True)
        if waiting:
            _remove_scores(self.task.out_dir)
        if len(waiting) < len(self.numbers):
            _log.info(
                "%d of %d jobs are already done and are kept", len(self.numbers) - len(waiting), len(self.numbers)
            )
        if not waiting:
            return
        _log.info("%d jobs, %s back end, logs in %s", len(waiting), self.backend.name, self.task.log("*"))
        known = self.task.table.utterances
        total = sum(len(known[job - 1]) for job in waiting) if known else None
        with progress(total, "decoding") as advance:
            failures = self.backend.run(self.task, waiting, _LogCounter(self.task, waiting, advance).poll)
        for job in waiting:
            if job not in [failure.job for failure in failures] and self.task.lattice(job).exists():
                with atomic_write(self._marker(job), "w") as stream:
                    stream.write(self.fingerprint)
            elif job not in [failure.job for failure in failures]:
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


def _require_graph(graph: Path) -> None:
    if not graph.exists() and (graph.parent / "HCLr.fst").exists():
        raise DataError(
            f"{graph} does not exist, and {graph.parent / 'HCLr.fst'} is one half of a look-ahead graph, which must be "
            "composed with the other, Gr.fst: Kaldi's utils/mkgraph_lookahead.sh --compose-graph makes HCLG.fst"
        )


def _remove_scores(folder: Path) -> None:
    """Removes the scores of lattices that are made anew, so that nobody takes them for those of the new ones."""
    stale = [rate.best_file(folder) for rate in ERROR_RATES if rate.best_file(folder).exists()]
    stale += [folder / name for name in os.listdir(folder) if any(rate.point_of(name) for rate in ERROR_RATES)]
    if stale:
        _log.info("removing the scores in %s, which belong to the old lattices: score the folder again", folder)
    for path in stale:
        path.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write the folder {folder.parent}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK):
        raise DataError(f"cannot write the folder {folder}: permission denied")


def _fingerprint(task: DecodeTask, rspecifier: str, backend: Backend) -> str:
    """What a job's lattices depend on: options, back end, and size and time of every input file."""
    options = {name: value for name, value in asdict(task.options).items() if name not in _WITHOUT_EFFECT}
    table: SplitTable = task.table
    files = [task.trans_model, task.graph, task.words, *table.files]
    facts = [backend.name, rspecifier, options, table.jobs, table.utterances]
    facts += [_size_and_time(name) for name in files]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest() + "\n"


def _size_and_time(name: str) -> tuple[str, int, int]:
    """A file that is not there has none; whoever reads it says so."""
    try:
        return name, os.stat(name).st_size, os.stat(name).st_mtime_ns
    except OSError:
        return name, -1, -1
