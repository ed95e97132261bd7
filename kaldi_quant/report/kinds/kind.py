"""What differs between kinds of results; all else in tables and pages is the same for every kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from kaldi_quant.metrics.metric import Metric
    from kaldi_quant.metrics.score import Score
    from kaldi_quant.report.files.record import QuantizationRecord
    from kaldi_quant.report.significance.bootstrap import PairedDifference
    from kaldi_quant.report.versus import Versus


class ScoredFolder(Protocol):
    """A folder with a score.

    Attributes:
        name: what tables call it.
        path: the folder.
        score_file: which file of it the score is from.
        metric: what was measured.
        value: the score, as it is shown.
        score: the same, with what each utterance contributes.
        record: how the model that was scored was quantized; None where the folder does not say.
    """

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def score_file(self) -> Path: ...
    @property
    def metric(self) -> Metric: ...
    @property
    def value(self) -> float: ...
    @property
    def score(self) -> Score: ...
    @property
    def record(self) -> QuantizationRecord | None: ...


Folder = TypeVar("Folder", bound=ScoredFolder)


class Kind(Protocol[Folder]):
    """A kind of results.

    Attributes:
        folder_noun: what a folder is called.
        same: what is equal where two folders are: "the same words".
        plot_prefix: of the names inside the plot of scores.
        has_matched_pairs: whether MAPSSWE can be made.
        tests: in which tests p is to be small, in words.
        terms: what headings of the columns mean.
    """

    @property
    def folder_noun(self) -> str: ...
    @property
    def same(self) -> str: ...
    @property
    def plot_prefix(self) -> str: ...
    @property
    def has_matched_pairs(self) -> bool: ...
    @property
    def tests(self) -> str: ...
    @property
    def terms(self) -> list[str]: ...

    def read(self, path: Path, name: str) -> Folder:
        """Reads a folder.

        Raises:
            KaldiQuantError: it cannot be read.
        """

    def check(self, folders: Sequence[Folder]) -> None:
        """Refuses folders that cannot be compared, whatever their scores.

        Raises:
            KaldiQuantError: names what differs.
        """

    def limited(self, paired: PairedDifference, differing: int) -> PairedDifference:
        """A difference as it can be believed where so many units differ."""

    def versus(self, folders: Sequence[Folder], paired: Sequence[PairedDifference]) -> list[Versus]:
        """Each folder but the first against the first; ``paired`` has as many members."""

    def title(self, metric: Metric) -> str:
        """Of tables and plots of scores."""

    def about_tests(self, unit: str) -> list[str]:
        """What a reader must know of the tests; ``unit`` is what was drawn."""

    def about_values(self, metric: Metric) -> str:
        """What a reader must know of the scores."""

    def line(self, folder: Folder) -> str:
        """What a row of the text begins with: the score, and the file that it is from."""

    def headings(self, first: Folder) -> list[str]:
        """Of the columns for people that show the score and what it is made of."""

    def cells(self, folder: Folder) -> list[str]:
        """What stands in these columns."""

    def test_set(self, folder: Folder) -> str:
        """How large the test set is."""

    def notes(self, folder: Folder) -> list[str]:
        """What a reader must know of a folder, without its name."""

    def p_values(self, versus: Versus) -> str:
        """The p-values of all tests, in words."""

    def settings_json(self) -> dict[str, Any]:
        """How folders were read."""

    def metric_json(self, metric: Metric) -> dict[str, Any]:
        """What was measured."""

    def folder_json(self, folder: Folder) -> dict[str, Any]:
        """The score and what it is made of."""

    def versus_json(self, versus: Versus) -> dict[str, Any]:
        """What is known of a difference beside the bootstrap's result."""
