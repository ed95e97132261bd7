"""A decode folder as this project's or Kaldi's scoring leaves it: its words at one point of the sweep, its record."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kaldi_quant.decode.error_rate import CHARACTERS, WORDS, ErrorRate
from kaldi_quant.decode.kaldi_programs import parse_wer
from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.decode.transcripts import read_transcripts
from kaldi_quant.decode.wer import WER_LINE, Transcripts, WerResult, compute_wer, error_score
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.report.files.record import QuantizationRecord, read_record

_PENALTY = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
# What Kaldi's scripts for sclite, and those before score_kaldi_wer.sh, leave.
_OLD_SCORE = re.compile(r"(wer|cer|score)_\d+(_-?\d+\.\d+)?")


@dataclass(frozen=True)
class FixedPoint:
    """What the sweep is restricted to.

    Attributes:
        lm_weight: LMWT; None for any.
        penalty: WIP as the user wrote it, equal to any spelling of the same number; None for any.
    """

    lm_weight: int | None = None
    penalty: str | None = None

    def __post_init__(self) -> None:
        if self.lm_weight is not None and self.lm_weight < 1:
            raise UsageError(f"--lmwt expects a whole number above 0, found {self.lm_weight}")
        if self.penalty is not None and not _PENALTY.fullmatch(self.penalty):
            raise UsageError(f"--wip expects a number such as 0.5, found {self.penalty!r}")

    def admits(self, point: SweepPoint) -> bool:
        """Whether a point of the sweep is one of those."""
        penalty = self.penalty is None or float(self.penalty) == float(point.penalty)
        return penalty and self.lm_weight in (None, point.lm_weight)

    def __str__(self) -> str:
        lm_weight = "any LMWT" if self.lm_weight is None else f"LMWT {self.lm_weight}"
        return f"{lm_weight} and {'any WIP' if self.penalty is None else f'WIP {self.penalty}'}"


@dataclass(frozen=True)
class DecodeFolder:
    """The scores of one decode folder at one point.

    Attributes:
        name: what tables call it.
        path: the folder.
        point: LMWT and WIP.
        result: what its ``wer_LMWT_WIP`` or ``cer_LMWT_WIP`` says.
        references: utterance → words, or characters.
        hypotheses: the same, at that point.
        record: how the model that made its log-likelihoods was quantized; None where the folder does not say.
        rate: what was counted.
    """

    name: str
    path: Path
    point: SweepPoint
    result: WerResult
    references: Transcripts
    hypotheses: Transcripts
    record: QuantizationRecord | None
    rate: ErrorRate = WORDS

    @property
    def metric(self) -> Metric:
        """WER or CER."""
        return self.rate.metric

    @property
    def value(self) -> float:
        """The error rate in percent, as Kaldi prints it."""
        return self.result.percent

    @cached_property
    def score(self) -> Score:
        """The errors of each utterance."""
        return error_score(self.references, self.hypotheses, self.metric)

    @property
    def score_file(self) -> Path:
        """``wer_LMWT_WIP``."""
        return self.rate.score_file(self.path, self.point)

    @property
    def is_older_than_lattices(self) -> bool:
        """Whether a ``lat.JOB.gz`` beside the scores was written after them."""
        scored = self.score_file.stat().st_mtime
        return any(lattice.stat().st_mtime > scored for lattice in self.path.glob("lat.*.gz"))

    @property
    def scored(self) -> list[str]:
        """The utterances that count, in the references' order: those with a hypothesis."""
        return [utterance for utterance in self.references if utterance in self.hypotheses]


def read_folder(path: Path, name: str, fixed: FixedPoint | None = None, rate: ErrorRate = WORDS) -> DecodeFolder:
    """Reads one decode folder.

    Args:
        path: the folder.
        name: what tables call it.
        fixed: where in the sweep; by default the folder's own best point.
        rate: what was counted.

    Raises:
        KaldiQuantError: it is missing, was not scored, or its files are malformed or contradict each other.
    """
    if not path.is_dir():
        raise DataError(f"the decode folder {path} does not exist")
    point, result = _choose_point(path, fixed, rate)
    reference_file, hypothesis_file = rate.references_file(path), rate.hypotheses_file(path, point)
    references, hypotheses = read_transcripts(reference_file), read_transcripts(hypothesis_file)
    counted = compute_wer(references, hypotheses)
    if _counts(counted) != _counts(result):
        raise DataError(
            f"{path}: {rate.score_file(path, point).name} has {_describe(result, rate)}, but {hypothesis_file.name} of "
            f"{hypothesis_file.parent.name} against {reference_file.name} gives {_describe(counted, rate)}; "
            "score it again"
        )
    return DecodeFolder(name, path, point, result, references, hypotheses, read_record(path), rate)


def _counts(result: WerResult) -> tuple[int, int, int]:
    return result.edits.total, result.num_words, result.num_sentences


def _describe(result: WerResult, rate: ErrorRate) -> str:
    errors, words, sentences = _counts(result)
    return f"{errors} errors in {words} {rate.units} of {sentences} utterances"


def _choose_point(path: Path, fixed: FixedPoint | None, rate: ErrorRate) -> tuple[SweepPoint, WerResult]:
    """The point that ``best_wer`` names, or else the lowest WER as printed, the first of equals."""
    points = _points(path, rate)
    if fixed is None or fixed == FixedPoint():
        best = _named_by_best(path, points, rate)
        candidates = [best] if best else points
    else:
        candidates = [point for point in points if fixed.admits(point)]
        if not candidates:
            weights = sorted({point.lm_weight for point in points})
            penalties = ", ".join(sorted({point.penalty for point in points}, key=float))
            raise DataError(
                f"{path} was not scored at {fixed}: it has LMWT {weights[0]} to {weights[-1]} and WIP {penalties}"
            )
    results = {point: parse_wer(rate.score_file(path, point)) for point in candidates}
    empty = next((point for point, result in results.items() if not result.num_words), None)
    if empty is not None:
        raise DataError(f"{rate.score_file(path, empty)}: no {rate.units} were scored")
    return min(results.items(), key=lambda item: round(item[1].percent, 2))


def _points(path: Path, rate: ErrorRate) -> list[SweepPoint]:
    """The points of the sweep, in the order in which Kaldi looks for the best."""
    names = os.listdir(path)
    points = [point for name in names if (point := rate.point_of(name))]
    if not points:
        how = "kaldi-quant score or Kaldi's score.sh"
        if rate is CHARACTERS:
            how = "kaldi-quant score --cer true or Kaldi's score_kaldi_cer.sh"
        if any(_OLD_SCORE.fullmatch(name) for name in names):
            raise DataError(
                f"{path} has scores of an old form (wer_LMWT, score_LMWT), without the words in scoring_kaldi: score "
                f"it again, with {how}"
            )
        raise DataError(f"{path} has no scores ({rate.prefix}_LMWT_WIP): score it first, with {how}")
    return sorted(points, key=lambda point: (float(point.penalty), point.lm_weight))


def _named_by_best(path: Path, points: list[SweepPoint], rate: ErrorRate) -> SweepPoint | None:
    file = rate.best_file(path)
    if not file.exists():
        return None
    text = file.read_text("utf-8", "replace")
    words = text.split()
    point = rate.point_of(Path(words[-1]).name) if words else None
    if point is None or point not in points:
        named = words[-1][-80:] if words else "nothing"
        raise DataError(
            f"{file} names {named}, which is not one of the folder's {rate.prefix}_LMWT_WIP: score it again"
        )
    said, counted = WER_LINE.search(text), parse_wer(rate.score_file(path, point))
    if said is not None and counted.num_words and tuple(map(int, said.groups()[:2])) != _counts(counted)[:2]:
        raise DataError(
            f"{file} says {said.group()}, but {rate.score_file(path, point).name} has {_describe(counted, rate)}: "
            "one of them is older; score the folder again"
        )
    return point
