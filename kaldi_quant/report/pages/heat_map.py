"""Heat maps as tables of HTML: colours on a logarithmic scale, the value printed in each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kaldi_quant.report.numbers import short

# A single hue's lightness falls along it, which all eyes see; the darkest end takes white text.
_COLOURS = "YlGnBu"
_LIGHTEST, _DARKEST = 0.04, 0.92
_WHITE_TEXT_BELOW = 0.52


@dataclass(frozen=True)
class Cell:
    """A cell of a heat map.

    Attributes:
        text: what is printed in it.
        value: what gives its colour; None for none, and what is not positive has the lightest.
        is_chosen: whether it is outlined.
    """

    text: str
    value: float | None = None
    is_chosen: bool = False


@dataclass(frozen=True)
class HeatMap:
    """A table of cells.

    Attributes:
        corner: what the names of rows are.
        columns: headings.
        rows: the name of each, and its cells.
        unit: of the values.
    """

    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    unit: str


def heat_map(content: HeatMap) -> str:
    """The table, and the scale of its colours below it."""
    values = [cell.value for _, cells in content.rows for cell in cells if cell.value is not None and cell.value > 0]
    low, high = (min(values), max(values)) if values else (1.0, 1.0)
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in content.columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(_cell(cell, low, high) for cell in cells)}</tr>\n'
        for name, cells in content.rows
    )
    table = (
        f'<div class="scroll"><table class="heat"><thead><tr><th>{escape(content.corner)}</th>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )
    if not values:
        return table
    stops = ", ".join(_colour(step / 8)[0] for step in range(9))
    return (
        f'{table}<p class="scale">{escape(short(low))} <i style="background:linear-gradient(to right, {stops})"></i> '
        f"{escape(short(high))} {escape(content.unit)}, logarithmic</p>"
    )


def _cell(cell: Cell, low: float, high: float) -> str:
    names = [name for name, holds in (("chosen", cell.is_chosen), ("none", cell.value is None)) if holds]
    kinds = f' class="{" ".join(names)}"' if names else ""
    style = ""
    if cell.value is not None:
        share = math.log(max(cell.value, low) / low) / math.log(high / low) if high > low else 0.0
        back, front = _colour(share)
        style = f' style="background:{back};color:{front}"'
    return f"<td{kinds}{style}>{escape(cell.text)}</td>"


def _colour(share: float) -> tuple[str, str]:
    """Of a cell and of its text, for a share from 0 to 1 of the scale."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    colour = colormaps[_COLOURS](_LIGHTEST + share * (_DARKEST - _LIGHTEST))
    lightness = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
    return to_hex(colour), "#ffffff" if lightness < _WHITE_TEXT_BELOW else "#1c2027"
