"""The two ways to decode and to score, behind one interface.

A back end makes ``lat.JOB.gz`` from log-likelihoods, and the hypotheses and word error rates of a sweep from these.
Everything around it, checks, splitting, markers, what Kaldi's scoring leaves in the folder, is the same for both.
"""

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.decode.error_rate import WORDS, ErrorRate
from kaldi_quant.decode.jobs import JobFailure
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
from kaldi_quant.decode.split import SplitTable
from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.decode.wer import Transcripts, WerResult

#: What Kaldi's log says of each utterance that was decoded, and so the embedded back end's.
DECODED = "Log-like per frame for utterance"
LEFT_OUT = "is left out:"
#: One match in a job's log for each utterance that it is through with.
UTTERANCE_ENDED = re.compile(f"{DECODED}|{LEFT_OUT}".encode())


@dataclass(frozen=True)
class DecodeTask:
    """What the jobs of one decoding have in common.

    Attributes:
        trans_model, graph, words: files.
        table: the log-likelihoods, split.
        out_dir: the decode folder.
        options: how to decode.
    """

    trans_model: str
    graph: str
    words: str
    table: SplitTable
    out_dir: Path
    options: DecodeOptions

    def lattice(self, job: int | str) -> Path:
        """The lattices of one job."""
        return self.out_dir / f"lat.{job}.gz"

    def log(self, job: int | str) -> Path:
        """The log of one job."""
        return self.out_dir / "log" / f"decode.{job}.log"


@dataclass(frozen=True)
class JobReport:
    """What came of one job: how many utterances it decoded, and which it left out with what reason."""

    decoded: int
    left_out: dict[str, str]


@dataclass(frozen=True)
class ScoreTask:
    """What the points of one sweep have in common.

    Attributes:
        lattices: the ``lat.JOB.gz`` in order.
        words: the symbol table's file.
        symbols: word-id → word.
        references: utterance → words, or characters.
        decode_dir: where ``scoring_kaldi`` and ``wer_LMWT_WIP`` go.
        options: what to sweep.
        rate: what is counted.
    """

    lattices: list[Path]
    words: str
    symbols: dict[int, str]
    references: Transcripts
    decode_dir: Path
    options: ScoreOptions
    rate: ErrorRate = WORDS

    @property
    def scoring_dir(self) -> Path:
        """``scoring_kaldi``."""
        return self.decode_dir / "scoring_kaldi"

    def hypotheses_file(self, point: SweepPoint) -> Path:
        """``scoring_kaldi/penalty_WIP/LMWT.txt``."""
        return self.rate.hypotheses_file(self.decode_dir, point)

    def score_file(self, point: SweepPoint) -> Path:
        """``wer_LMWT_WIP``."""
        return self.rate.score_file(self.decode_dir, point)

    def score_text(self, counted: str) -> str:
        """What Kaldi's scoring leaves in a score file: the command line of ``compute-wer``, and what that printed."""
        references = shlex.quote(f"ark:{self.rate.references_file(self.decode_dir)}")
        return f"compute-wer --text --mode=present {references} ark,p:- \n{counted}"


class Backend(ABC):
    """One way to decode and to score."""

    name: str
    #: The programs that it runs, which are part of what lattices are made from.
    programs: Sequence[Path] = ()

    @abstractmethod
    def prepare(self, task: DecodeTask, num_pdfs: int) -> DecodeTask:
        """Whatever must be done before the jobs; returns the task, changed where need be."""

    @abstractmethod
    def run(self, task: DecodeTask, jobs: list[int], poll: Callable[[], None]) -> list[JobFailure]:
        """Runs jobs, each of which leaves ``lat.JOB.gz`` and its report, and returns those that failed."""

    @abstractmethod
    def report(self, task: DecodeTask, job: int) -> JobReport | None:
        """The report of a job that has ended; None where there is none."""

    @abstractmethod
    def sweep(self, task: ScoreTask, filter_hypotheses: Callable[[str], str]) -> None:
        """Writes the hypotheses of every point to ``task.hypotheses_file``.

        Args:
            task: what to sweep.
            filter_hypotheses: is applied to the text of each file.
        """

    @abstractmethod
    def score(self, task: ScoreTask) -> dict[SweepPoint, WerResult]:
        """Writes ``task.score_file`` for every point from the hypotheses, and returns the results."""

    @abstractmethod
    def bootstrap(self, task: ScoreTask, point: SweepPoint) -> str:
        """The line of ``compute-wer-bootci`` for one point."""
