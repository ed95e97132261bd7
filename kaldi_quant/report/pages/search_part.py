"""What a search for widths found, on a page: the front, the allocation, and what each layer's width costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from kaldi_quant.report.cells import EMPTY, Table
from kaldi_quant.report.files.search_file import SearchResult, width_name
from kaldi_quant.report.numbers import short
from kaldi_quant.report.pages.heat_map import Cell, HeatMap, heat_map
from kaldi_quant.report.pages.html import facts, figure, folded, heading, paragraph, table
from kaldi_quant.report.pages.search_front import UNIT, front_plot
from kaldi_quant.units import FLOAT_BITS, Bits, Nats


def search_part(search: SearchResult, prefix: str) -> str:
    """The part of the page.

    Args:
        search: what was found.
        prefix: of the names inside its plot: no other plot of the page may have it.
    """
    parts = [figure(front_plot(search, prefix)), table(_outcome(search))]
    if len(search.tried) > 1 or any(model.percent is not None for model in search.tried):
        parts.append(folded("All models that were measured", table(_tried(search))))
    parts.append(folded("The allocation", table(_layers(search))))
    parts += [heading("What each layer's width costs"), paragraph(_explained(search)), heat_map(_weights(search))]
    if len(search.act_widths) > 1:
        parts += [heading("What the width of each layer's input costs"), heat_map(_inputs(search))]
    return "".join(parts)


def search_origin(search: SearchResult) -> str:
    """How the search was made."""
    entries = {
        "file": str(search.path),
        "budget": search.budget,
        "estimate": search.estimate,
        "left in float": "; ".join(f"{layer}: {reason}" for layer, reason in search.float_layers),
        "depends on": json.dumps(search.about, indent=1, ensure_ascii=False),
        "configuration that was chosen": json.dumps(search.config, indent=1, ensure_ascii=False),
    }
    return folded(f"search {search.name}", facts(entries))


def _outcome(search: SearchResult) -> Table:
    rows = [
        [name, str(cost.bytes), f"{cost.bits_per_weight:.3f}", f"{cost.divergence:.5f}"]
        for name, cost in (("predicted", search.predicted), ("measured", search.measured))
    ]
    return Table([f"budget: {search.budget}", "bytes", "bits per weight", f"divergence, {UNIT}"], rows)


def _tried(search: SearchResult) -> Table:
    rows = []
    for model in search.tried:
        words = EMPTY if model.percent is None else f"{model.percent:.2f}"
        counts = EMPTY if model.percent is None else f"{model.errors} / {model.words}"
        name = "chosen" if model.is_chosen else "another"
        rows.append([name, str(model.bytes), f"{model.divergence:.5f}", words, counts])
    return Table(["model", "bytes", f"divergence, {UNIT}", "WER, %", "errors / words"], rows)


def _layers(search: SearchResult) -> Table:
    total = search.predicted.divergence
    rows = []
    for layer in search.layers:
        share = f"{100 * layer.divergence / total:.1f} %" if total > 0 else EMPTY
        inputs = EMPTY if layer.bits == FLOAT_BITS else str(layer.act_bits)
        widths = [width_name(layer.bits), inputs]
        rows.append([layer.name, str(layer.parameters), *widths, str(layer.bytes), short(layer.divergence), share])
    rows += [[name, EMPTY, "float", *[EMPTY] * 4] for name, _ in search.float_layers]
    headings = ["layer", "parameters", "bits", "input's bits", "bytes", "divergence added", "of the predicted"]
    return Table(headings, rows)


def _explained(search: SearchResult) -> str:
    how = "measured" if search.estimate == "measured" else "estimated from curvature"
    return (
        f"Divergence from float in {UNIT}, {how} with this layer in this width and all others in "
        f"{search.base_bits} bits, less that of all in {search.base_bits} bits ({short(search.base_divergence)}). "
        "Outlined: the chosen width."
    )


def _weights(search: SearchResult) -> HeatMap:
    rows = [
        (layer.name, _cells(search.weight_costs, layer.name, search.widths, layer.bits, search.base_bits))
        for layer in search.layers
    ]
    return HeatMap("layer", [_bits(bits) for bits in search.widths], rows, UNIT)


def _inputs(search: SearchResult) -> HeatMap:
    base = max(search.act_widths)
    rows = [
        (", ".join(group.layers), _cells(search.input_costs, group.layers[0], search.act_widths, group.act_bits, base))
        for group in search.inputs
    ]
    return HeatMap("what is read by", [_bits(bits) for bits in search.act_widths], rows, UNIT)


def _cells(
    costs: Mapping[tuple[str, Bits], Nats], layer: str, widths: Sequence[Bits], chosen: Bits, base: Bits
) -> list[Cell]:
    cells = []
    for bits in widths:
        cost = costs.get((layer, bits))
        unknown = "base" if bits == base else EMPTY
        cells.append(Cell(unknown if cost is None else short(cost), cost, bits == chosen))
    return cells


def _bits(bits: Bits) -> str:
    return "float" if width_name(bits) == "float" else f"{bits} bits"
