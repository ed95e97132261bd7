"""Sensitivity of layers to quantization, on a page: a plot and a table."""

from __future__ import annotations

import json

from kaldi_quant.report.cells import EMPTY, Table
from kaldi_quant.report.files.sensitivity_file import SensitivityResult
from kaldi_quant.report.pages.html import bullets, facts, figure, folded, table
from kaldi_quant.report.pages.plot_style import make_plot
from kaldi_quant.report.sensitivity import Costs, draw


def sensitivity_part(found: SensitivityResult, prefix: str) -> str:
    """The part of the page.

    Args:
        found: what was measured.
        prefix: of the names inside its plot: no other plot of the page may have it.
    """
    costs = Costs(found.measurements)
    if not costs.layers:
        return bullets([f"{found.path} holds no measurement of a layer yet"])
    caption = (
        "Divergence from float. Quantized alone: what the layer costs in a float network. Gained by leaving it out: "
        "how much less all layers together cost if this one stays in float."
    )
    plot = make_plot("Sensitivity of layers", caption, prefix, lambda paper: draw(costs, paper))
    missing = [layer for layer in costs.layers if layer not in costs.alone or layer not in costs.left_out]
    note = f"not measured yet in full: {', '.join(missing)}" if missing else ""
    return figure(plot) + table(_table(costs)) + bullets(filter(None, [note]))


def sensitivity_origin(found: SensitivityResult) -> str:
    """How it was measured."""
    entries = {"file": str(found.path), "depends on": json.dumps(found.about, indent=1, ensure_ascii=False)}
    return folded(f"sensitivity {found.name}", facts(entries))


def _table(costs: Costs) -> Table:
    headings = ["quantized layers", "alone, nats", "left out, nats", "gained by leaving it out"]
    rows = [["none", _nats(costs.none), EMPTY, EMPTY], ["all", _nats(costs.all), EMPTY, EMPTY]]
    rows += [
        [layer, *(_nats(of.get(layer)) for of in (costs.alone, costs.left_out, costs.gained))] for layer in costs.layers
    ]
    if costs.wer:
        headings += ["WER alone, %", "WER left out, %"]
        measured: list[tuple[tuple[str, str] | None, ...]] = [(("float", ""), None), (("all", ""), None)]
        measured += [(("alone", layer), ("left out", layer)) for layer in costs.layers]
        for row, choices in zip(rows, measured, strict=True):
            row += [_percent(costs.wer.get(choice)) if choice else EMPTY for choice in choices]
    return Table(headings, rows)


def _nats(value: float | None) -> str:
    return EMPTY if value is None else f"{value:.5f}"


def _percent(value: float | None) -> str:
    return EMPTY if value is None else f"{value:.2f}"
