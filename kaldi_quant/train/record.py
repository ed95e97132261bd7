"""``progress.json`` and ``objective.png``: how training went, for a person and for programs."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write

FILE_NAME, PLOT_NAME = "progress.json", "objective.png"
# What the plot shows: the first of these parts of the objective that there is.
_SHOWN = {
    "output": "chain objective per frame",
    "kl": "divergence from the teacher per frame",
    "loss": "loss",
}
_log = logging.getLogger(__name__)


@dataclass
class IterationRecord:
    """One iteration.

    Args:
        iteration: counted from 0; -1 is the model that training began with.
        archive: its examples.
        frame_shift: of their features; of the first archive's, where several are trained on at a time.
        learning_rate: of its steps.
        train: the objective's parts, per frame, while it changed.
        valid: on held-out examples, behind it.
        frames: how many it saw.
        minibatches: and in how many steps.
        skipped: minibatches left out, because their objective or gradient was no finite number.
        seconds: how long it took, without validation.
    """

    iteration: int
    archive: str = ""
    frame_shift: int = 0
    learning_rate: float = 0.0
    train: dict[str, float] = field(default_factory=dict)
    valid: dict[str, float] = field(default_factory=dict)
    frames: float = 0.0
    minibatches: int = 0
    skipped: int = 0
    seconds: float = 0.0


def write_progress(
    folder: Path, options: dict[str, Any], iterations: list[IterationRecord], result: dict[str, Any]
) -> None:
    """Writes ``progress.json``."""
    content = {"options": options, "iterations": [asdict(entry) for entry in iterations], "result": result}
    with atomic_write(folder / FILE_NAME, "w") as stream:
        json.dump(content, stream, indent=1)
        stream.write("\n")


def plot_progress(folder: Path, iterations: list[IterationRecord]) -> None:
    """Draws the objective over the iterations."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        _log.info("%s is not written: matplotlib is not installed", PLOT_NAME)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    there = {name for entry in iterations for name in (*entry.train, *entry.valid)}
    shown, label = next(((name, text) for name, text in _SHOWN.items() if name in there), ("", ""))
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name in ("train", "valid"):
        points = [
            (entry.iteration + 1, values[shown]) for entry in iterations if shown in (values := getattr(entry, name))
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
    axes.set(xlabel="iterations", ylabel=label)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    with atomic_write(folder / PLOT_NAME) as stream:
        figure.savefig(stream, format="png", dpi=120, bbox_inches="tight")
    pyplot.close(figure)
