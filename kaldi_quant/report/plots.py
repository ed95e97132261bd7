"""The plots of the page, as SVG to be put into HTML: made by matplotlib, with the page's own fonts."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaldi_quant.errors import MissingDependencyError
from kaldi_quant.report.cells import layer_names, layers_of
from kaldi_quant.report.comparison import Comparison, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart; the reference is the dark grey.
_REFERENCE_COLOUR = "#3d4451"
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#7a5195",
    "#8a8a00",
    "#b22222",
    "#2f4b7c",
)
_MARKERS = "oDs^vP*X<>"
_GRID, _TEXT = "#e3e6ea", "#2b303a"
_STYLE: Any = {
    # Text stays text, in the font of the page; names are never formulas.
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": "#b5bac2",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#5b6270",
    "ytick.color": _TEXT,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}
_WIDTH = 11.0  # inches, which the page scales to its own width
_LONGEST_NAME = 34


@dataclass(frozen=True)
class Plot:
    """A plot and what it shows."""

    title: str
    caption: str
    svg: str


def require_matplotlib() -> None:
    """Refuses to go on without matplotlib.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "plots need the package matplotlib: pip install 'kaldi_quant[report]' "
            "(tables as text, Markdown and JSON do without)"
        ) from error


def plots(comparison: Comparison) -> list[Plot]:
    """All plots for which there is something to show."""
    require_matplotlib()
    import matplotlib as mpl

    rows = comparison.rows
    found = []
    with mpl.rc_context(_STYLE):
        found.append(_error_rates(rows))
        if len(rows) > 1:
            found.append(_differences(rows))
        if sum(row.size is not None for row in rows) > 1:
            found.append(_size(rows))
        if any(layer.sqnr is not None for row in rows for layer in layers_of(row)):
            found.append(_layers(rows))
        if comparison.speeds and len(comparison.speeds) > 1:
            found.append(_speeds(comparison))
    return found


def colour_of(position: int) -> str:
    """The colour of a row, the same in all plots."""
    return _COLOURS[(position - 1) % len(_COLOURS)] if position else _REFERENCE_COLOUR


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, prefix: str) -> str:
    """The figure as an element: scaled by the page, and with names that differ from those of other figures."""
    import matplotlib as mpl

    stream = io.StringIO()
    # The salt and the missing date make the same figure the same text.
    with mpl.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(?<= id=")|(?<=url\(#)|(?<=xlink:href="#)', f"{prefix}-", text)
    return re.sub(
        r'^<svg ([^>]*?)\s*width="[^"]*"', r'<svg role="img" \1', re.sub(r' height="[^"]*"', "", text, count=1)
    )


def _error_rates(rows: Sequence[Row]) -> Plot:
    figure, axes = _figure(0.9 + 0.38 * len(rows))
    reference = rows[0].folder.result.percent
    for position, row in enumerate(rows):
        percent = row.folder.result.percent
        colour = colour_of(position)
        axes.barh(position, percent, height=0.58, color=colour, alpha=0.28)
        axes.plot(
            [row.interval.low, row.interval.high], [position, position], color=colour, solid_capstyle="butt", lw=2.4
        )
        axes.plot(percent, position, "o", color=colour, ms=6)
        _annotate(axes, f"{percent:.2f}", max(row.interval.high, percent), position)
    axes.axvline(reference, color=_REFERENCE_COLOUR, lw=1, ls=(0, (3, 3)))
    axes.set_xlim(0, 1.1 * max(max(row.interval.high, row.folder.result.percent) for row in rows) or 1)
    _name_rows(axes, [row.name for row in rows])
    axes.set_xlabel("word error rate, %")
    caption = "Lines: 95 % intervals."
    if len(rows) > 1:
        caption = (
            "Lines: 95 % intervals of each alone. They overlap more than the differences are uncertain, because all "
            "systems were tested on the same utterances: see the differences."
        )
    return Plot("Word error rates", caption, _svg(figure, "wer"))


def _differences(rows: Sequence[Row]) -> Plot:
    figure, axes = _figure(0.9 + 0.38 * (len(rows) - 1))
    for position, row in enumerate(rows[1:]):
        if row.versus is None:
            continue
        paired, colour = row.versus.paired, colour_of(position + 1)
        ends = [paired.interval.low, paired.interval.high]
        axes.plot(ends, [position, position], color=colour, solid_capstyle="butt", lw=2.4)
        face = colour if row.versus.significant else "white"
        axes.plot(paired.difference, position, "o", color=colour, mfc=face, mew=1.6, ms=7)
        _annotate(axes, f"{paired.difference:+.2f}", max(paired.interval.high, paired.difference), position)
    axes.axvline(0, color=_REFERENCE_COLOUR, lw=1, ls=(0, (3, 3)))
    axes.margins(x=0.08)
    _name_rows(axes, [row.name for row in rows[1:]])
    axes.set_xlabel(f"word error rate minus that of {_shortened(rows[0].name)}, % absolute")
    caption = "Lines: 95 % intervals of the paired bootstrap; filled dots: significant."
    return Plot("Differences", caption, _svg(figure, "differences"))


def _annotate(axes: Axes, text: str, right: float, position: int) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.annotate(text, (right, position), (7, 0), textcoords="offset points", va="center", fontsize=8.5, bbox=box)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _size(rows: Sequence[Row]) -> Plot:
    figure, axes = _figure(4.2)
    unit, divisor = _byte_unit(max(row.size or 0 for row in rows))
    shown = [(position, row, row.size / divisor) for position, row in enumerate(rows) if row.size is not None]
    for position, row, size in shown:
        percent, colour = row.folder.result.percent, colour_of(position)
        axes.plot([size, size], [row.interval.low, row.interval.high], color=colour, lw=2, solid_capstyle="butt")
        axes.plot(size, percent, _MARKERS[position % len(_MARKERS)], color=colour, ms=8, label=_shortened(row.name))
    axes.axhline(rows[0].folder.result.percent, color=_REFERENCE_COLOUR, lw=1, ls=(0, (3, 3)))
    axes.set_xlim(0, 1.06 * max(size for *_, size in shown) or 1)
    axes.set_xlabel(f"model on disk, {unit}")
    axes.set_ylabel("word error rate, %")
    figure.legend(loc="outside right upper", fontsize=8.5)
    return Plot(
        "Word error rate and size", "Further to the left is smaller, further down is better.", _svg(figure, "size")
    )


def _byte_unit(largest: int) -> tuple[str, float]:
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if largest >= divisor:
            return unit, divisor
    return "bytes", 1.0


def _layers(rows: Sequence[Row]) -> Plot:
    shown = [
        (position, row) for position, row in enumerate(rows) if any(layer.sqnr is not None for layer in layers_of(row))
    ]
    names = layer_names([row for _, row in shown])
    figure, axes = _figure(1.0 + 0.26 * len(names))
    places = {name: place for place, name in enumerate(names)}
    for position, row in shown:
        known = [(layer.sqnr, places[layer.name]) for layer in layers_of(row) if layer.sqnr is not None]
        ratios, levels = zip(*known, strict=True)
        marker = _MARKERS[position % len(_MARKERS)]
        axes.plot(ratios, levels, marker + "-", color=colour_of(position), ms=5, lw=1.2, label=_shortened(row.name))
    _name_rows(axes, names)
    axes.grid(True, axis="y")
    axes.set_xlabel("signal-to-quantization-noise ratio, dB")
    figure.legend(loc="outside right upper", fontsize=8.5)
    caption = "The first layer is on top; further to the right is nearer to float."
    return Plot("Layers", caption, _svg(figure, "layers"))


def _speeds(comparison: Comparison) -> Plot:
    speeds = comparison.speeds or {}
    figure, axes = _figure(0.9 + 0.38 * len(speeds))
    colours = {row.name: colour_of(position) for position, row in enumerate(comparison.rows)}
    for position, (name, speed) in enumerate(speeds.items()):
        colour = colours.get(name, "#8b93a1")
        axes.barh(position, speed.ratio, height=0.58, color=colour, alpha=0.28)
        axes.plot([speed.lowest, speed.highest], [position, position], color=colour, lw=2.4, solid_capstyle="butt")
        _annotate(axes, f"{speed.ratio:.2f}×", speed.highest, position)
    axes.axvline(1.0, color=_REFERENCE_COLOUR, lw=1, ls=(0, (3, 3)))
    axes.set_xlim(0, 1.15 * max(speed.highest for speed in speeds.values()))
    _name_rows(axes, list(speeds))
    axes.set_xlabel(f"frames per second on one thread, relative to {_shortened(next(iter(speeds)))}")
    return Plot(
        "Speed", "Medians over rounds in which all took turns; lines: the range over the rounds.", _svg(figure, "speed")
    )
