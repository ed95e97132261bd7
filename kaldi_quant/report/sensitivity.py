"""Sensitivity of layers to quantization, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import MissingDependencyError
from kaldi_quant.report.pages.plot_style import COLOURS, Paper, require_matplotlib, write_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kaldi_quant.quant.sensitivity import Measurement


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
    costs = Costs(measurements)
    with atomic_write(path) as stream:
        write_svg(stream, lambda paper: draw(costs, paper))


class Costs:
    """Measurements by what they are of; a run that was interrupted lacks some.

    Args:
        measurements: in the order in which they were made.

    Attributes:
        layers: of the network, in its order.
        none, all: divergence with no layer quantized, and with all.
        alone, left_out: layer → divergence with this layer alone quantized, and with all but this one.
        gained: layer → by how much less all others diverge than all.
        wer: (mode, layer) → percent of words in error, where it was measured.
    """

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.measurements = measurements
        self.layers = list(dict.fromkeys(found.layer for found in measurements if found.layer))
        self.none = next((found.kl for found in measurements if found.mode == "float"), None)
        self.all = next((found.kl for found in measurements if found.mode == "all"), None)
        self.alone = {found.layer: found.kl for found in measurements if found.mode == "alone"}
        self.left_out = {found.layer: found.kl for found in measurements if found.mode == "left out"}
        whole = self.all
        self.gained = {layer: whole - kl for layer, kl in self.left_out.items()} if whole is not None else {}
        self.wer = {(found.mode, found.layer): found.wer for found in measurements if found.wer is not None}


def draw(costs: Costs, paper: Paper) -> Figure:
    """Two bars for each layer: quantized alone, and gained by leaving it out."""
    figure, axes = paper.axes(1.2 + 0.34 * len(costs.layers), legend=2)
    for values, shift, label, colour in (
        (costs.alone, -0.2, "quantized alone", COLOURS[0]),
        (costs.gained, 0.2, "gained by leaving it out", COLOURS[5]),
    ):
        known = [(place + shift, values[layer]) for place, layer in enumerate(costs.layers) if layer in values]
        if known:
            places, lengths = zip(*known, strict=True)
            axes.barh(places, lengths, 0.38, color=colour, label=label)
    paper.name_rows(axes, costs.layers)
    whole = "" if costs.all is None or paper.is_narrow else f" (all layers: {costs.all:.5f})"
    axes.set_xlabel(f"divergence, nats per frame{whole}")
    paper.legend(figure)
    return figure
