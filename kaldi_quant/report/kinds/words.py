"""Words, or characters, of decode folders: error rates, with MAPSSWE beside the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaldi_quant.decode.error_rate import ErrorRate
from kaldi_quant.errors import DataError
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.report.files.decode_folder import DecodeFolder, FixedPoint, read_folder
from kaldi_quant.report.numbers import p_value
from kaldi_quant.report.significance.alignment import error_slots
from kaldi_quant.report.significance.bootstrap import PairedDifference
from kaldi_quant.report.significance.mapsswe import matched_pairs
from kaldi_quant.report.versus import Versus

#: What stands in the tables under these names.
LMWT = "LMWT: language-model weight; scoring divides acoustic costs by it"
WIP = "WIP: word insertion penalty; scoring adds this cost for each word"
MAPSSWE = (
    "MAPSSWE: matched-pairs sentence-segment word error test (Gillick and Cox 1989); it compares the errors of two "
    "systems in stretches between words that both have right"
)


@dataclass(frozen=True)
class Words:
    """Error rates of decode folders; the methods are those of ``Kind``.

    Attributes:
        fixed: where in the sweep; without restriction each folder stands at its own best point.
        rate: what is counted: words or characters.
    """

    fixed: FixedPoint
    rate: ErrorRate

    folder_noun = "decode folder"
    same = "the same words"
    has_matched_pairs = True
    tests = "the paired bootstrap, in MAPSSWE, and in an exact test of the segments of MAPSSWE"

    @property
    def plot_prefix(self) -> str:
        return self.rate.prefix

    @property
    def terms(self) -> list[str]:
        return [LMWT, WIP]

    def read(self, path: Path, name: str) -> DecodeFolder:
        return read_folder(path, name, self.fixed, self.rate)

    def check(self, folders: Sequence[DecodeFolder]) -> None:
        for folder in folders[1:]:
            _check_same_test(folders[0], folder)

    def limited(self, paired: PairedDifference, differing: int) -> PairedDifference:
        # Where few differ, the exact test of segments has the say.
        return paired

    def versus(self, folders: Sequence[DecodeFolder], paired: Sequence[PairedDifference]) -> list[Versus]:
        first, *others = folders
        slots = [
            [error_slots(first.references[utterance], folder.hypotheses[utterance]) for utterance in first.scored]
            for folder in folders
        ]
        found = []
        for folder, theirs, difference in zip(others, slots[1:], paired, strict=True):
            equal = sum(first.hypotheses[utterance] == folder.hypotheses[utterance] for utterance in first.scored)
            found.append(Versus(difference, matched_pairs(zip(slots[0], theirs, strict=True)), equal))
        return found

    def title(self, metric: Metric) -> str:
        return f"{metric.heading}s"

    def about_tests(self, unit: str) -> list[str]:
        return [MAPSSWE]

    def about_values(self, metric: Metric) -> str:
        if self.fixed == FixedPoint():
            return (
                "every folder stands at its own best LMWT and WIP, found on these same references; "
                "--lmwt and --wip fix the point"
            )
        return f"every folder stands at {self.fixed}"

    def line(self, folder: DecodeFolder) -> str:
        # Kaldi's best_wer.sh expects one space before the number, and nothing before the %.
        return f"{folder.result.wer_line()} {folder.score_file}"

    def headings(self, first: DecodeFolder) -> list[str]:
        counted = f"errors in {first.result.num_words} {self.rate.units}"
        return [first.metric.column, counted, "ins / del / sub", "LMWT / WIP"]

    def cells(self, folder: DecodeFolder) -> list[str]:
        result, edits, point = folder.result, folder.result.edits, folder.point
        split = f"{edits.insertions} / {edits.deletions} / {edits.substitutions}"
        return [f"{result.percent:.2f}", str(edits.total), split, f"{point.lm_weight} / {point.penalty}"]

    def test_set(self, folder: DecodeFolder) -> str:
        return f"{folder.result.num_words} {self.rate.units} in {folder.result.num_sentences} utterances"

    def notes(self, folder: DecodeFolder) -> list[str]:
        found = []
        absent = folder.result.absent_sentences
        if absent:
            found.append(f"{absent} references have no hypothesis and are not scored")
        if folder.is_older_than_lattices:
            found.append(f"the lattices in {folder.path} are newer than its scores: score it again")
        return found

    def p_values(self, versus: Versus) -> str:
        matched = versus.matched
        assert matched is not None
        return (
            f"p {p_value(versus.paired.p_value)} by bootstrap, {p_value(matched.p_value)} by MAPSSWE, "
            f"{p_value(matched.exact_p_value)} exact, {matched.differing} segments differ"
        )

    def settings_json(self) -> dict[str, Any]:
        return {"fixed_lmwt": self.fixed.lm_weight, "fixed_wip": self.fixed.penalty}

    def metric_json(self, metric: Metric) -> dict[str, Any]:
        return {"rate": metric.name}

    def folder_json(self, folder: DecodeFolder) -> dict[str, Any]:
        result = folder.result
        return {
            "lmwt": folder.point.lm_weight,
            "wip": folder.point.penalty,
            "wer": 100.0 * result.edits.total / result.num_words,
            "errors": result.edits.total,
            "words": result.num_words,
            "insertions": result.edits.insertions,
            "deletions": result.edits.deletions,
            "substitutions": result.edits.substitutions,
            "utterances": result.num_sentences,
            "wrong_utterances": result.wrong_sentences,
            "absent_utterances": result.absent_sentences,
        }

    def versus_json(self, versus: Versus) -> dict[str, Any]:
        assert versus.matched is not None
        return {
            "mapsswe": asdict(versus.matched),
            "significant": versus.significant,
            "equal_utterances": versus.equal_units,
        }


def _check_same_test(first: DecodeFolder, other: DecodeFolder) -> None:
    """Refuses folders that were scored on different utterances or words.

    Raises:
        DataError: names the first utterance that differs.
    """
    for one, another in ((first, other), (other, first)):
        lacking = [utterance for utterance in one.references if utterance not in another.references]
        if lacking:
            raise DataError(
                f"{first.path} and {other.path} were scored on different test sets: the reference of {lacking[0]} "
                f"({len(lacking)} in all) is only in {one.path}"
            )
    for utterance, words in first.references.items():
        if words != other.references[utterance]:
            raise DataError(
                f"{first.path} and {other.path} were scored against different references: {utterance} is "
                f"{' '.join(words)[:60]!r} in the one and {' '.join(other.references[utterance])[:60]!r} in the other"
            )
    for one, another in ((first, other), (other, first)):
        lacking = [utterance for utterance in one.scored if utterance not in another.hypotheses]
        if lacking:
            raise DataError(
                f"{another.path} has no hypothesis for {lacking[0]} ({len(lacking)} in all), which {one.path} has: "
                "decode and score both on the same utterances"
            )
