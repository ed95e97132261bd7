"""How all plots look: colours, the two widths they are drawn in, and SVG to be put into HTML.

matplotlib draws them; text stays text, in the fonts of the page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from kaldi_quant.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Inches = float

# Okabe and Ito's colours, which colour-blind readers can tell apart; the reference is the dark grey.
REFERENCE_COLOUR = "#3d4451"
COLOURS = (
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
OTHER_COLOUR = "#8b93a1"
_MARKERS = "oDs^vP*X<>h"
_GRID, _TEXT = "#e3e6ea", "#2b303a"
_STYLE: Any = {
    # Names are never formulas.
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
    "legend.fontsize": 8.5,
}
_LINE_OF_LEGEND: Inches = 0.185


@dataclass(frozen=True)
class Plot:
    """A plot and what it shows.

    Attributes:
        title: of the plot.
        caption: how to read it.
        wide, narrow: SVG for wide windows and for narrow ones.
    """

    title: str
    caption: str
    wide: str
    narrow: str


@dataclass(frozen=True)
class Paper:
    """What a plot is drawn on; the page scales it to its own width.

    Attributes:
        width: of the figure.
        longest_name: characters of a name that fit.
        room: the share of an axis that labels at the ends of lines take.
        is_narrow: whether legends go below the axes instead of beside them.
    """

    width: Inches
    longest_name: int
    room: float
    is_narrow: bool

    def axes(self, height: Inches, legend: int = 0) -> tuple[Figure, Axes]:
        """A figure with axes; it has room for so many lines of a legend."""
        from matplotlib.figure import Figure

        lines = _LINE_OF_LEGEND * legend
        height = height + lines if self.is_narrow else max(height, lines + 0.4)
        figure = Figure(figsize=(self.width, height), layout="constrained")
        return figure, figure.add_subplot()

    def legend(self, figure: Figure) -> None:
        """The legend, outside the axes."""
        figure.legend(loc="outside lower left" if self.is_narrow else "outside right upper")

    def name_rows(self, axes: Axes, names: Sequence[str]) -> None:
        """Names of rows, the first on top."""
        axes.set_yticks(range(len(names)), [self.shortened(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(False, axis="y")

    def shortened(self, name: str) -> str:
        """A name that fits: its beginning and its end."""
        if len(name) <= self.longest_name:
            return name
        head = self.longest_name // 2
        return f"{name[:head]}…{name[head + 1 - self.longest_name :]}"


_WIDE = Paper(11.0, 34, 0.1, is_narrow=False)
_NARROW = Paper(3.9, 20, 0.26, is_narrow=True)


def require_matplotlib() -> None:
    """Refuses to go on without matplotlib.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "plots need the package matplotlib: pip install matplotlib (text, Markdown and JSON do not need it)"
        ) from error


def make_plot(title: str, caption: str, prefix: str, draw: Callable[[Paper], Figure]) -> Plot:
    """Draws a plot in both widths.

    Args:
        title: of the plot.
        caption: how to read it.
        prefix: of the names inside it: no other plot of the page may have it.
        draw: makes the figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        return Plot(title, caption, _svg(draw(_WIDE), prefix), _svg(draw(_NARROW), f"{prefix}-narrow"))


def renamed(plot: Plot, prefix: str) -> Plot:
    """The same plot for a page on which others have its names: these begin with a prefix of its own."""
    return replace(plot, wide=_named(plot.wide, prefix), narrow=_named(plot.narrow, prefix))


def write_svg(stream: Any, draw: Callable[[Paper], Figure]) -> None:
    """Writes a plot as a file of its own."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        draw(_WIDE).savefig(stream, format="svg")


def colour_of(position: int) -> str:
    """The colour of a row, the same in all plots."""
    return COLOURS[(position - 1) % len(COLOURS)] if position else REFERENCE_COLOUR


def marker_of(position: int) -> str:
    """The marker of a row; rows of the same colour have different ones."""
    return _MARKERS[position % len(_MARKERS)]


def annotate(axes: Axes, text: str, right: float, level: float) -> None:
    """Text to the right of a point."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.annotate(text, (right, level), (7, 0), textcoords="offset points", va="center", fontsize=8.5, bbox=box)


def mark_line(axes: Axes, value: float, horizontal: bool = False) -> None:
    """A dashed line across the axes at a value of reference."""
    style: Any = {"color": REFERENCE_COLOUR, "lw": 1, "ls": (0, (3, 3))}
    if horizontal:
        axes.axhline(value, **style)
    else:
        axes.axvline(value, **style)


def byte_unit(largest: float) -> tuple[str, float]:
    """A unit in which sizes are short, and how many bytes it is."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if largest >= divisor:
            return unit, divisor
    return "bytes", 1.0


def size_axis(axes: Axes, sizes: Sequence[float]) -> None:
    """The axis of model sizes, given in some unit, as ``size_span`` says."""
    span, is_log = size_span(sizes)
    if is_log:
        log_axis(axes, "x", sizes)
    axes.set_xlim(*span)


def size_span(sizes: Sequence[float]) -> tuple[tuple[float, float], bool]:
    """The ends of the axis of model sizes, and whether it is logarithmic: where they are of different orders."""
    low, high = min(sizes), max(sizes)
    if low > 0 and high > 3 * low:
        return (low / 1.15, high * 1.15), True
    return (0, 1.06 * high or 1), False


def log_axis(axes: Axes, name: Literal["x", "y"], values: Sequence[float]) -> None:
    """Makes an axis of positive values logarithmic; ticks are plain numbers, the denser the fewer orders there are."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ratio = max(values) / min(values)
    ticks = (1.0, 2.0, 3.0, 5.0, 7.0) if ratio < 30 else (1.0, 2.0, 5.0) if ratio < 1e3 else (1.0,)
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _svg(figure: Figure, prefix: str) -> str:
    """The figure as an element: scaled by the page, and with names that differ from those of other figures."""
    import matplotlib as mpl

    stream = io.StringIO()
    # The salt and the missing date make the same figure the same text.
    with mpl.rc_context({"svg.hashsalt": prefix}), warnings.catch_warnings():
        # The page's fonts, not matplotlib's, show the text.
        warnings.filterwarnings("ignore", "Glyph ", UserWarning)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _named(text, prefix)
    return re.sub(
        r'^<svg ([^>]*?)\s*width="[^"]*"', r'<svg role="img" \1', re.sub(r' height="[^"]*"', "", text, count=1)
    )


def _named(text: str, prefix: str) -> str:
    return re.sub(r'(?<= id=")|(?<=url\(#)|(?<=xlink:href="#)', f"{prefix}-", text)
