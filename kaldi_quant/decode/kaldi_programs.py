"""The back end of Kaldi's own programs, run as Kaldi's recipes run them.

Source: ``steps/decode.sh``, ``steps/scoring/score_kaldi_wer.sh`` of Kaldi's recipes.
"""

import re
from collections.abc import Callable
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.decode.backend import Backend, DecodeTask, JobReport, ScoreTask
from kaldi_quant.decode.checks import check_loglikes
from kaldi_quant.decode.error_rate import WORDS
from kaldi_quant.decode.jobs import JobArray, JobFailure, run_jobs
from kaldi_quant.decode.split import JOB, leave_out
from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.decode.transcripts import format_transcripts, read_transcripts
from kaldi_quant.decode.wer import WER_LINE, Edits, WerResult
from kaldi_quant.errors import DataError, KaldiQuantError
from kaldi_quant.job_log import tail
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.text import read_text, to_integer
from kaldi_quant.progress import progress

_FOLDERS = {
    "latgen-faster-mapped": "bin",
    "compute-wer": "bin",
    "compute-wer-bootci": "bin",
    "lattice-scale": "latbin",
    "lattice-add-penalty": "latbin",
    "lattice-best-path": "latbin",
}
_LMWT = "LMWT"
_DONE = re.compile(r"Done (\d+) utterances, failed for (\d+)")
_LEFT_OUT = re.compile(
    r"(Not producing output for utterance|Zero-length utterance:|Failed to decode \S+ \S+ \S+) (\S+)(.*)",
    re.ASCII,
)
_SER = re.compile(r"%SER \S+ \[ (\d+) / (\d+) \]")
_ABSENT = re.compile(r"Scored \d+ sentences, (\d+) not present in hyp")


def missing_programs(root: str | None) -> list[str]:
    """The programs that a Kaldi at ``root`` does not have; all where ``root`` is None."""
    return [name for name, folder in _FOLDERS.items() if not root or not (Path(root) / "src" / folder / name).is_file()]


class KaldiBackend(Backend):
    """Decodes and scores with the programs of a Kaldi that is built.

    Args:
        root: KALDI_ROOT.
    """

    name = "kaldi"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.programs = [Path(self._program(name)) for name in ("latgen-faster-mapped", "lattice-scale")]
        self._left_out: dict[str, str] = {}

    def _program(self, name: str) -> str:
        return str(self._root / "src" / _FOLDERS[name] / name)

    def prepare(self, task: DecodeTask, num_pdfs: int) -> DecodeTask:
        """Leaves out what Kaldi's programs would stumble over; tables that are not split here are taken as they are."""
        if not task.table.utterances:
            return task

        def on_bad(utterance: str, error: KaldiQuantError) -> None:
            self._left_out[utterance] = str(error)

        for job in range(1, task.table.jobs + 1):
            for utterance, loglikes in read_matrices(task.table.of(job), task.options.allow_pipes, on_bad):
                reason = check_loglikes(utterance, loglikes, num_pdfs)
                if reason:
                    self._left_out[utterance] = reason
        table = leave_out(task.table, set(self._left_out))
        return DecodeTask(task.trans_model, task.graph, task.words, table, task.out_dir, task.options)

    def run(self, task: DecodeTask, jobs: list[int], poll: Callable[[], None]) -> list[JobFailure]:
        """``latgen-faster-mapped``, its lattices scaled and packed under a temporary name."""
        options = task.options
        temporary = task.out_dir / f".lat.{JOB}.gz.tmp"
        scale = f"{self._program('lattice-scale')} --acoustic-scale={options.post_decode_acwt:g} ark:- ark:- | "
        command = [
            self._program("latgen-faster-mapped"),
            f"--max-active={options.max_active}",
            f"--min-active={options.min_active}",
            f"--beam={options.beam:g}",
            f"--lattice-beam={options.lattice_beam:g}",
            f"--acoustic-scale={options.acoustic_scale:g}",
            f"--allow-partial={str(options.allow_partial).lower()}",
            f"--word-symbol-table={task.words}",
            task.trans_model,
            task.graph,
            task.table.rspecifier,
            f"ark:|{scale if options.post_decode_acwt != 1 else ''}gzip -c >{temporary}",
        ]
        move = ["&&", "mv", "-f", str(temporary), str(task.lattice(JOB))]
        try:
            return run_jobs(JobArray(JOB, jobs, str(task.log(JOB)), command + move, {}), options.cmd, poll)
        finally:
            for job in jobs:
                Path(str(temporary).replace(JOB, str(job))).unlink(missing_ok=True)

    def report(self, task: DecodeTask, job: int) -> JobReport | None:
        """What the log says."""
        log = task.log(job)
        text = read_text(log) if log.exists() else ""
        done = _DONE.search(text)
        if done is None:
            return None
        left_out = {utterance: f"{what}{why}".rstrip(": ") for what, utterance, why in _LEFT_OUT.findall(text)}
        for number in range(len(left_out), int(done.group(2))):
            left_out[f"number {number + 1}"] = f"failed; see {log}"
        return JobReport(int(done.group(1)), {**left_out, **(self._left_out if job == 1 else {})})

    def sweep(self, task: ScoreTask, filter_hypotheses: Callable[[str], str]) -> None:
        """``lattice-scale | lattice-add-penalty | lattice-best-path`` for every point."""
        with progress(len(task.options.points), "scoring", "points") as advance:
            for penalty in task.options.word_ins_penalty:
                folder = task.scoring_dir / f"penalty_{penalty}"
                command = [
                    self._program("lattice-scale"),
                    f"--inv-acoustic-scale={_LMWT}",
                    f"ark:gunzip -c {' '.join(map(str, task.lattices))} |",
                    *(
                        "ark:-",
                        "|",
                        self._program("lattice-add-penalty"),
                        f"--word-ins-penalty={penalty}",
                        "ark:-",
                        "ark:-",
                    ),
                    *("|", self._program("lattice-best-path"), f"--word-symbol-table={task.words}", "ark:-"),
                    f"ark,t:{folder}/{_LMWT}.int",
                ]
                self._run_points(task, f"{folder}/log/best_path.{_LMWT}.log", command)
                for point in [point for point in task.options.points if point.penalty == penalty]:
                    self._name_words(task, folder / f"{point.lm_weight}.int", point, filter_hypotheses)
                    advance(1)

    def _name_words(
        self, task: ScoreTask, numbers: Path, point: SweepPoint, filter_hypotheses: Callable[[str], str]
    ) -> None:
        """``int2sym.pl``."""
        try:
            hypotheses = {
                utterance: [task.symbols[to_integer(word)] for word in words]
                for utterance, words in read_transcripts(numbers).items()
            }
        except (KeyError, ValueError) as error:
            raise DataError(f"{numbers}: the word-id {error} is not in {task.words}") from error
        with atomic_write(task.hypotheses_file(point), "w") as stream:
            stream.write(filter_hypotheses(format_transcripts(hypotheses)))
        numbers.unlink()

    def score(self, task: ScoreTask) -> dict[SweepPoint, WerResult]:
        """``compute-wer`` for every point."""
        try:
            for penalty in task.options.word_ins_penalty:
                self._count(task, penalty)
            return {point: _name_command(task, point) for point in task.options.points}
        finally:
            for point in task.options.points:
                _printed(task, point.lm_weight, point.penalty).unlink(missing_ok=True)

    def _count(self, task: ScoreTask, penalty: str) -> None:
        folder = task.scoring_dir / f"penalty_{penalty}"
        hypotheses = f"ark,p:{folder}/{_LMWT}{task.rate.suffix}"
        command = [
            *(self._program("compute-wer"), "--text", "--mode=present"),
            *(f"ark:{task.rate.references_file(task.decode_dir)}", hypotheses),
            *(">", str(_printed(task, _LMWT, penalty))),
        ]
        log = "score" if task.rate is WORDS else f"score.{task.rate.prefix}"
        self._run_points(task, f"{folder}/log/{log}.{_LMWT}.log", command)

    def bootstrap(self, task: ScoreTask, point: SweepPoint) -> str:
        """``compute-wer-bootci``."""
        output = task.scoring_dir / "log" / f"{task.rate.prefix}_bootci.txt"
        hypotheses = task.hypotheses_file(point)
        references = f"ark:{task.rate.references_file(task.decode_dir)}"
        program = self._program("compute-wer-bootci")
        command = [program, "--mode=present", references, f"ark:{hypotheses}", ">", str(output)]
        array = JobArray("ONE", [1], f"{task.scoring_dir}/log/{task.rate.prefix}_bootci.log", command, {})
        self._require(array, run_jobs(array, task.options.cmd, lambda: None))
        text = read_text(output)
        output.unlink()
        return text

    def _run_points(self, task: ScoreTask, log: str, command: list[str]) -> None:
        array = JobArray(_LMWT, list(task.options.lm_weights), log, command, {})
        self._require(array, run_jobs(array, task.options.cmd, lambda: None))

    @staticmethod
    def _require(array: JobArray, failures: list[JobFailure]) -> None:
        if failures:
            log = array.log_of(failures[0].job)
            raise DataError(f"{tail(log) or failures[0].reason}; see {log}")


def _printed(task: ScoreTask, lm_weight: int | str, penalty: str) -> Path:
    """The temporary file of what ``compute-wer`` prints."""
    return task.decode_dir / f".{task.rate.prefix}_{lm_weight}_{penalty}.tmp"


def _name_command(task: ScoreTask, point: SweepPoint) -> WerResult:
    """Makes a score file of what ``compute-wer`` printed."""
    printed = read_text(_printed(task, point.lm_weight, point.penalty))
    with atomic_write(task.score_file(point), "w") as stream:
        stream.write(task.score_text(printed))
    return parse_wer(task.score_file(point))


def parse_wer(path: Path) -> WerResult:
    """Takes the output of ``compute-wer`` apart.

    Raises:
        DataError: the file holds something else.
    """
    text = read_text(path)
    wer, ser, absent = WER_LINE.search(text), _SER.search(text), _ABSENT.search(text)
    if wer is None or ser is None or absent is None:
        raise DataError(f"{path}: expected the output of compute-wer, found {text[:80]!r}")
    _, words, insertions, deletions, substitutions = map(int, wer.groups())
    return WerResult(
        Edits(insertions, deletions, substitutions), words, int(ser.group(1)), int(ser.group(2)), int(absent.group(1))
    )
