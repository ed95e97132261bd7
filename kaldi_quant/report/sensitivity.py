"""Sensitivity of layers to quantization, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import MissingDependencyError
from kaldi_quant.quant.sensitivity import Measurement
from kaldi_quant.report.plots import require_matplotlib


def as_text(measurements: Sequence[Measurement]) -> str:
    """One line for each measurement, aligned; float and all first, then the layers from the costliest down."""
    whole = [found for found in measurements if not found.layer]
    alone = sorted((found for found in measurements if found.mode == "alone"), key=lambda found: -found.kl)
    left_out = sorted((found for found in measurements if found.mode == "left out"), key=lambda found: found.kl)
    width = max((len(found.layer) for found in measurements), default=0)
    lines = ["# divergence from float in nats per frame, percent of words in error, quantized layers"]
    for found in [*whole, *alone, *left_out]:
        wer = "      -" if found.wer is None else f"{found.wer:7.2f}"
        lines.append(f"KL {found.kl:9.6f}  WER {wer}  {found.mode:8}  {found.layer:{width}}".rstrip())
    return "\n".join(lines) + "\n"


def write_plot(path: Path, measurements: Sequence[Measurement], required: bool) -> None:
    """Writes the divergence of each layer as SVG: quantized alone, and what leaving it in float gains.

    Args:
        path: of the plot.
        measurements: all of them.
        required: whether it is an error that matplotlib is missing; else there is no plot then.

    Raises:
        MissingDependencyError: see ``required``.
    """
    try:
        require_matplotlib()
    except MissingDependencyError:
        if required:
            raise
        return
    from matplotlib.figure import Figure

    layers = [found.layer for found in measurements if found.mode == "alone"]
    whole = next(found.kl for found in measurements if found.mode == "all")
    alone = {found.layer: found.kl for found in measurements if found.mode == "alone"}
    gained = {found.layer: whole - found.kl for found in measurements if found.mode == "left out"}
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(layers))
    axes.barh([row - 0.2 for row in rows], [alone[name] for name in layers], 0.38, label="quantized alone")
    axes.barh([row + 0.2 for row in rows], [gained[name] for name in layers], 0.38, label="gained by leaving it out")
    axes.set_yticks(rows, layers)
    axes.invert_yaxis()
    axes.set_xlabel(f"divergence from float, nats per frame (all layers: {whole:.5f})")
    axes.legend()
    with atomic_write(path) as stream:
        figure.savefig(stream, format="svg")
