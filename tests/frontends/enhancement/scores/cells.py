"""Cells of enhanced speech as recipes leave them, of something that takes a share of the noise away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kaldi_quant.frontends.cells import Work, make_cell
from kaldi_quant.frontends.enhancement.scores.cell_files import write_cell_scores, write_noisy
from kaldi_quant.frontends.enhancement.scores.measured import enhancement_scores
from kaldi_quant.frontends.enhancement.scores.predictions import write_predictions
from kaldi_quant.made import Sources
from kaldi_quant.metrics.known import MSE, PESQ, SI_SDR
from tests.frontends.enhancement.scores.pairs import RATE, Pair

#: cell → the share of the noise that stays, and the bytes of the model.
METRICS = (PESQ, SI_SDR, MSE)
CELLS = {"float": (0.30, 4000), "mbqat": (0.36, 700), "ours-w8a8": (0.301, 1000)}


def write_cells(exp: Path, pairs: Sequence[Pair], network: str = "crn-100k", worse: float = 0.0) -> None:
    """Writes cells of a network, and the scores of noisy speech.

    Args:
        exp: the folder of networks.
        pairs: the test set.
        network: its name.
        worse: added to the share of noise that stays.
    """
    if not (exp / "noisy").exists():
        write_noisy(exp, pairs, RATE, METRICS)
    for name, (share, size) in CELLS.items():
        _write(exp / network / name, pairs, share + worse, size)


def _write(folder: Path, pairs: Sequence[Pair], share: float, size: int) -> None:
    enhanced: Mapping = {pair.name: pair.clean + share * (pair.noisy - pair.clean) for pair in pairs}

    def work(place: Path) -> Work:
        model = place / "model.bin"
        model.write_bytes(bytes(size))
        scores = enhancement_scores(pairs, enhanced, RATE, METRICS)
        others = [*write_cell_scores(place, scores), *write_predictions(place, pairs, enhanced, RATE)]
        details = {"scores": {key: score.value for key, score in scores.items()}}
        return Work(model, scores["PESQ"], 1000, others, details)

    folder.mkdir(parents=True)
    make_cell(folder, "", f"egs/enhancement/make.py {folder.name}", Sources(), work)
