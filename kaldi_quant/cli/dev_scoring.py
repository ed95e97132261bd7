"""Word errors on development data: shared by the verbs that measure them for many models."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.options import grouped_options
from kaldi_quant.errors import UsageError
from kaldi_quant.made import known_digest

if TYPE_CHECKING:
    import numpy as np

    from kaldi_quant.kaldi.model import Model
    from kaldi_quant.quant.search.measurements import WordErrors
    from kaldi_quant.quant.search.outcome import Scorer

_OPTIONS = (
    click.option(
        "--graph-dir",
        "scoring_graph",
        metavar="DIR",
        help="Also measure word error rates, with this graph; needs --data-dir.",
    ),
    click.option("--data-dir", metavar="DIR", help="Data folder of the development set, for its text."),
    click.option("--nj", type=int, default=2, show_default=True, help="Number of parallel decoding jobs."),
)

# What does not change lattices or scores.
_WITHOUT_EFFECT = ("nj", "cmd", "backend", "allow_pipes", "stats")


@dataclass(frozen=True)
class ScoringArguments:
    """The values of these options."""

    scoring_graph: str | None
    data_dir: str | None
    nj: int

    def __post_init__(self) -> None:
        """Refuses impossible values before anything is read.

        Raises:
            UsageError: there is one.
        """
        if self.nj < 1:
            raise UsageError(f"--nj must be positive, found {self.nj}")

    @property
    def given(self) -> bool:
        """Whether words are scored.

        Raises:
            UsageError: one of the two folders is missing.
        """
        if (self.scoring_graph is None) != (self.data_dir is None):
            raise UsageError("give both --graph-dir and --data-dir, or neither")
        return self.scoring_graph is not None

    def about(self) -> dict[str, Any]:
        """What word errors depend on beside log-likelihoods, under the names by which an error calls it.

        Raises:
            DataError: a file is missing.
        """
        from kaldi_quant.decode.choice import choose_backend
        from kaldi_quant.decode.options import DecodeOptions, ScoreOptions

        graph, data = self._folders()
        options = {**asdict(DecodeOptions()), **asdict(ScoreOptions())}
        filters = (Path("local") / f"wer_{kind}_filter" for kind in ("ref", "hyp", "output"))
        return {
            "graph": [known_digest(graph / "HCLG.fst"), known_digest(graph / "words.txt")],
            "text": known_digest(data / "text"),
            "filters of transcripts": [known_digest(path) if path.is_file() else None for path in filters],
            "decoder": choose_backend("auto").name,
            "way of decoding": {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT},
        }

    def scorer(self, path: str, model: Model) -> Scorer:
        """Decodes log-likelihoods of a model, and scores them at the best point of the usual sweep.

        Args:
            path: of the model.
            model: what was read from there.

        Raises:
            UsageError: the number of jobs is impossible, or the model is no chain model.
            DataError: the graph was made for another model.
        """
        from kaldi_quant.decode.decoding import decode
        from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
        from kaldi_quant.decode.scoring import score
        from kaldi_quant.kaldi.compatibility import check_graph_folder
        from kaldi_quant.kaldi.tables import matrix_writer

        if len(model.priors):
            raise UsageError(f"{path} has priors: word errors can only be measured for chain models")
        graph, data = self._folders()
        if model.transition_model is not None:
            check_graph_folder(graph, model.transition_model, path)
        options = DecodeOptions(nj=self.nj)

        def word_errors(rows: Iterable[tuple[str, np.ndarray]]) -> WordErrors:
            with tempfile.TemporaryDirectory() as folder:
                loglikes, words = f"ark:{folder}/loglikes.ark", str(graph / "words.txt")
                with matrix_writer(loglikes) as writer:
                    for name, matrix in rows:
                        writer.write(name, matrix)
                decode(path, str(graph / "HCLG.fst"), loglikes, words, folder, options)
                return _parsed(score(str(data), str(graph), folder, ScoreOptions(stats=False)))

        return word_errors

    def _folders(self) -> tuple[Path, Path]:
        assert self.scoring_graph is not None and self.data_dir is not None
        return Path(self.scoring_graph), Path(self.data_dir)


def _parsed(best_wer: str) -> WordErrors:
    from kaldi_quant.decode.wer import WER_LINE
    from kaldi_quant.quant.search.measurements import WordErrors

    found = WER_LINE.match(best_wer)
    assert found is not None, best_wer
    return WordErrors(int(found[1]), int(found[2]))


#: Decorator: the verb gets these options, and their values as its argument ``scoring``.
scoring_options = grouped_options("scoring", ScoringArguments, _OPTIONS)
