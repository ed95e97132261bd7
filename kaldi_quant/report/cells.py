"""What stands in the tables: the columns of the comparison, of layers and of speed, as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.files.record import LayerRecord
from kaldi_quant.report.numbers import interval, p_value

#: What a cell holds where nothing is known.
EMPTY = "-"


@dataclass(frozen=True)
class Column:
    """A column of the comparison.

    Attributes:
        title: one word, without the metric's name, which is to be found in the rows of results alone.
        heading: the same for people.
        cell: what stands in a row, in one word.
    """

    title: str
    heading: str
    cell: Callable[[Row], str]


@dataclass(frozen=True)
class Table:
    """Headings, and as many cells in each row; the first column is text, the others are numbers."""

    headings: list[str]
    rows: list[list[str]]


def columns(comparison: Comparison) -> list[Column]:
    """The columns that follow the counts, always the same ones for a kind of results."""
    speeds, metric = comparison.speeds or {}, comparison.metric

    def speed(row: Row) -> str:
        return f"{speeds[row.name].ratio:.2f}" if row.name in speeds else EMPTY

    def difference(row: Row) -> str:
        return metric.number(row.versus.paired.difference, "+") if row.versus else EMPTY

    def its_interval(row: Row) -> str:
        return interval(row.versus.paired.interval, metric, "+") if row.versus else EMPTY

    found = [
        Column("95%-interval", "95 % interval", lambda row: interval(row.interval, metric)),
        Column("difference", "difference", difference),
        Column("95%-interval", "its 95 % interval", its_interval),
        Column("p-bootstrap", "p, bootstrap", lambda row: p_value(row.versus.paired.p_value) if row.versus else EMPTY),
    ]
    if comparison.kind.has_matched_pairs:
        found.append(Column("p-MAPSSWE", "p, MAPSSWE", _mapsswe))
    return [
        *found,
        Column("significant", "significant", _significant),
        Column("bytes", "bytes on disk", lambda row: str(row.size) if row.size is not None else EMPTY),
        Column("of-float", "of float", lambda row: f"{row.share_of_float:.2f}" if row.share_of_float else EMPTY),
        Column("bits", "bits per weight", _bits),
        Column("speed", "speed", speed),
    ]


def _mapsswe(row: Row) -> str:
    return p_value(row.versus.matched.p_value) if row.versus and row.versus.matched else EMPTY


def _significant(row: Row) -> str:
    if row.versus is None:
        return EMPTY
    return {True: "yes", False: "no", None: "unsure"}[row.versus.significant]


def _bits(row: Row) -> str:
    record = row.folder.record
    return f"{record.bits_per_weight:.2f}" if record and record.bits_per_weight is not None else EMPTY


def quantized_rows(comparison: Comparison) -> list[Row]:
    """The rows whose records tell of layers."""
    return [row for row in comparison.rows if row.folder.record and row.folder.record.layers]


def layer_names(rows: list[Row]) -> list[str]:
    """The layers of all rows, in the order in which they are first seen."""
    return list(dict.fromkeys(layer.name for row in rows for layer in layers_of(row)))


def layers_of(row: Row) -> tuple[LayerRecord, ...]:
    """The quantized layers of a row."""
    return row.folder.record.layers if row.folder.record else ()


def layer_table(comparison: Comparison) -> Table | None:
    """Signal-to-quantization-noise and widths of each layer; None where no folder tells."""
    rows = quantized_rows(comparison)
    if not rows:
        return None
    by_name = [{layer.name: layer for layer in layers_of(row)} for row in rows]
    body = []
    for name in layer_names(rows):
        layers = [layers.get(name) for layers in by_name]
        parameters = next((layer.parameters for layer in layers if layer and layer.parameters is not None), None)
        body.append([name, str(parameters) if parameters is not None else EMPTY, *map(_layer_cell, layers)])
    return Table(["layer", "parameters", *(row.name for row in rows)], body)


def _layer_cell(layer: LayerRecord | None) -> str:
    """``W4A8 31.2``: widths of weights and activations, and decibels; ``W4 (weights only) 31.2``."""
    if layer is None:
        return EMPTY
    widths = "".join(f"{letter}{value:g}" for letter, value in (("W", layer.bits), ("A", layer.act_bits)) if value)
    widths += " (weights only)" if layer.act_bits == 0 else ""
    return " ".join(filter(None, [widths, f"{layer.sqnr:.1f}" if layer.sqnr is not None else EMPTY]))


def speed_table(comparison: Comparison) -> Table | None:
    """Frames per second and ratios; None where nothing was measured."""
    if not comparison.speeds:
        return None
    body = [
        [name, f"{speed.ratio:.2f}", f"{speed.lowest:.2f}", f"{speed.highest:.2f}", f"{speed.frames_per_second:.0f}"]
        for name, speed in comparison.speeds.items()
    ]
    return Table(["model", "ratio", "lowest", "highest", "frames/s"], body)
