"""The embedded back end: kaldi-decoder and kaldifst in processes of their own, sweep and scoring in numpy."""

import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import kaldi_quant
from kaldi_quant.atomic import atomic_write
from kaldi_quant.bad_utterances import FewWarnings
from kaldi_quant.cores import ONE_THREAD
from kaldi_quant.decode.backend import Backend, DecodeTask, JobReport, ScoreTask
from kaldi_quant.decode.jobs import JobArray, JobFailure, run_jobs, run_together, runs_here
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.decode.split import JOB
from kaldi_quant.decode.sweep import SweepPoint, best_paths
from kaldi_quant.decode.transcripts import format_transcripts, read_transcripts
from kaldi_quant.decode.wer import Edits, Transcripts, WerResult, bootstrap_text, compute_wer
from kaldi_quant.errors import DataError, MissingDependencyError
from kaldi_quant.kaldi.lattice_archive import read_lattices
from kaldi_quant.progress import progress

_PACKAGES = {"kaldi_decoder": "kaldi-decoder", "kaldifst": "kaldifst"}


_log = logging.getLogger(__name__)


class EmbeddedBackend(Backend):
    """Decodes with the wheels kaldi-decoder and kaldifst."""

    name = "embedded"

    def prepare(self, task: DecodeTask, num_pdfs: int) -> DecodeTask:
        """Writes what the worker processes read."""
        for module, package in _PACKAGES.items():
            if importlib.util.find_spec(module) is None:
                raise MissingDependencyError(
                    f"the package {package}, which decodes without Kaldi, is missing: "
                    f"pip install {package}, or set KALDI_ROOT"
                )
        specification = {
            "trans_model": task.trans_model,
            "graph": task.graph,
            "rspecifier": task.table.rspecifier,
            "out_dir": str(task.out_dir),
            "log": str(task.log(JOB)),
            "options": asdict(task.options),
        }
        with atomic_write(self._specification(task), "w") as stream:
            json.dump(specification, stream, indent=1)
        options, default = task.options, DecodeOptions()
        if (options.max_active, options.min_active) != (default.max_active, default.min_active):
            _log.warning("--max-active and --min-active have no effect: the embedded decoder goes by the beams alone")
        return task

    def run(self, task: DecodeTask, jobs: list[int], poll: Callable[[], None]) -> list[JobFailure]:
        """One process for each job, so that a crash in a library ends that process and not this one.

        On this machine they are copies of one that has loaded the graph; elsewhere each loads it.
        """
        root = str(Path(kaldi_quant.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = {**ONE_THREAD, "PYTHONPATH": path}
        program, specification = [sys.executable, "-m"], str(self._specification(task))
        command = [*program, "kaldi_quant.decode.worker", specification, JOB]
        array = JobArray(JOB, jobs, str(task.log(JOB)), command, environment)
        if runs_here(task.options.cmd):
            return run_together(array, [*program, "kaldi_quant.decode.workers", specification], poll)
        return run_jobs(array, task.options.cmd, poll)

    def report(self, task: DecodeTask, job: int) -> JobReport | None:
        """What the worker wrote."""
        path = task.out_dir / ".jobs" / f"decode.{job}.json"
        if not path.exists():
            return None
        found = json.loads(path.read_text("utf-8"))
        return JobReport(found["decoded"], found["left_out"])

    def sweep(self, task: ScoreTask, filter_hypotheses: Callable[[str], str]) -> None:
        """Finds the best paths of every lattice at every point."""
        points = task.options.points
        hypotheses: dict[SweepPoint, Transcripts] = {point: {} for point in points}
        warnings = FewWarnings("lattices")
        with progress(None, "scoring", "lattices") as advance:
            for path in task.lattices:
                for utterance, lattice in read_lattices(path):
                    if utterance in hypotheses[points[0]]:
                        raise DataError(f"{path}: the utterance {utterance} already has a lattice in an earlier file")
                    try:
                        paths = best_paths(lattice, points)
                    except DataError as error:
                        warnings.warn("leaving out utterance %s of %s: %s", utterance, path, error)
                        continue
                    for point, words in zip(points, paths, strict=True):
                        hypotheses[point][utterance] = _symbols(words, task, utterance)
                    advance(1)
        warnings.finish()
        for point in points:
            with atomic_write(task.hypotheses_file(point), "w") as stream:
                stream.write(filter_hypotheses(format_transcripts(hypotheses[point])))

    def score(self, task: ScoreTask) -> dict[SweepPoint, WerResult]:
        """Counts errors; hypotheses that do not change between points are aligned once."""
        cache: dict[tuple[str, tuple[str, ...]], Edits] = {}
        results = {}
        for point in task.options.points:
            results[point] = compute_wer(task.references, read_transcripts(task.hypotheses_file(point)), cache)
            with atomic_write(task.score_file(point), "w") as stream:
                stream.write(task.score_text(results[point].text()))
        return results

    def bootstrap(self, task: ScoreTask, point: SweepPoint) -> str:
        """kaldialign's bootstrap, which is Kaldi's with another random generator."""
        return bootstrap_text(task.references, read_transcripts(task.hypotheses_file(point)))

    @staticmethod
    def _specification(task: DecodeTask) -> Path:
        return task.out_dir / ".jobs" / "decode.json"


def _symbols(words: tuple[int, ...], task: ScoreTask, utterance: str) -> list[str]:
    try:
        return [task.symbols[word] for word in words]
    except KeyError as error:
        raise DataError(
            f"utterance {utterance}: its lattice has the word-id {error}, which is not in {task.words}"
        ) from error
