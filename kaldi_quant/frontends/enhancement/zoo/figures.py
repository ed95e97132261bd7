"""Figures of a run, where matplotlib is installed: how training went, and what networks are worth."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.frontends.enhancement.zoo.evaluation import Evaluated
from kaldi_quant.frontends.enhancement.zoo.measures import MEASURES

_log = logging.getLogger(__name__)
TRAINING_NAME, SCORES_NAME = "training_metrics.png", "metrics.png"
_TITLES = {
    "train_loss": "loss of training",
    "val_mse": "squared error of validation waves",
    "pesq": "PESQ of validation",
    "stoi": "STOI of validation",
    "snr": "SNR of validation, dB",
    "si-snr": "SI-SNR of validation, dB",
}
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")


def plot_epochs(rows: Sequence[Mapping[str, str]], path: Path, shown: bool) -> None:
    """Draws the table of epochs.

    Args:
        rows: of ``training_logs.csv``.
        path: of the figure.
        shown: whether it is shown on the screen, too.
    """
    pyplot = _pyplot(path, shown)
    if pyplot is None or not rows:
        return
    figure, places = pyplot.subplots(3, 2, figsize=(10, 10))
    for axes, (name, title) in zip(places.flat, _TITLES.items(), strict=True):
        points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".")
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    figure.subplots_adjust(hspace=0.4, wspace=0.4)
    _finish(pyplot, figure, path, shown)


def plot_scores(results: Mapping[str, Evaluated], path: Path, shown: bool) -> None:
    """Draws the means of several networks side by side; arguments as of ``plot_epochs``."""
    pyplot = _pyplot(path, shown)
    if pyplot is None or not results:
        return
    figure, places = pyplot.subplots(1, len(MEASURES), figsize=(3 * len(MEASURES), 4))
    for axes, name in zip(places, MEASURES, strict=True):
        axes.bar(range(len(results)), [result.means[name] for result in results.values()])
        axes.set_xticks(range(len(results)), list(results), rotation=90)
        axes.set_title(name)
    # Names of networks stand upright below.
    figure.subplots_adjust(bottom=0.4, wspace=0.5)
    _finish(pyplot, figure, path, shown)


def _pyplot(path: Path, shown: bool) -> Any:
    """The module; None where it is not installed, which is told."""
    try:
        import matplotlib
    except ImportError:
        _log.warning("%s is not drawn: matplotlib is not installed: pip install matplotlib", path)
        return None
    if not _is_visible(shown):
        matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _is_visible(shown: bool) -> bool:
    return shown and any(os.environ.get(name) for name in _SCREENS)


def _finish(pyplot: Any, figure: Any, path: Path, shown: bool) -> None:
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=100)
    if _is_visible(shown):
        pyplot.show(block=False)
    pyplot.close(figure)
