"""The report as a browser shows it on a wide window and on a phone: nothing is cut, overlaps, or is fetched."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from kaldi_quant.report.pages.plot_style import COLOURS
from kaldi_quant.report.pages.report_page import as_html
from tests.report.browser import WIDTHS, View, browser, show
from tests.report.report_contents import full_contents

pytest.importorskip("matplotlib")

# What is drawn in each part, by the beginning of its title.
DRAWN = {
    "Word error rates": COLOURS[:2],
    "Differences": COLOURS[:2],
    "Word error rate and size": COLOURS[:2],
    "Search": COLOURS[:2],
    "Sensitivity": (COLOURS[0], COLOURS[5]),
    "Activation ranges": COLOURS[:1],
    "Layers": COLOURS[:2],
    "Speed": COLOURS[:1],
}
# Smaller letters are hard to read on a screen.
SMALLEST_LETTERS = 8.0

Shown = tuple[list[View], list[str]]


@pytest.fixture(scope="module")
def program() -> str:
    found = browser()
    if found is None:
        pytest.skip("no chromium is on PATH (Debian: apt install chromium)")
    return found


@pytest.fixture(scope="module")
def shown(program: str, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A page with names that are too long for its plots."""
    folder = tmp_path_factory.mktemp("page")
    layers = tuple(f"tdnnf{number}.a-component-with-a-long-name.linear" for number in range(1, 5))
    contents = full_contents(folder, "trained with distillation and a long name, 4 bits", layers)
    contents = replace(contents, searches=contents.searches[:1], ranges=contents.ranges[:1])
    return show(program, as_html(contents), folder, 8000)


def too_wide(view: View, width: int) -> list[str]:
    found = view.layout["stray"]
    return found if view.layout["width"] == width else [f"the page is {view.layout['width']} wide", *found]


def not_drawn(view: View) -> list[str]:
    """Figures that lack one of their colours, or are not shown once."""
    missing = []
    for figure in view.layout["figures"]:
        colours = next(colours for title, colours in DRAWN.items() if figure["title"].split(":")[0] == title)
        if len(figure["plots"]) != 1 or not all(
            view.count(figure["plots"][0]["box"], colour) > 25 for colour in colours
        ):
            missing.append(figure["title"])
    return missing


def misplaced_texts(view: View) -> list[str]:
    """Texts of plots that are too small, cut off, or on top of each other."""
    found = []
    for figure in view.layout["figures"]:
        for plot in figure["plots"]:
            left, top, right, bottom = plot["box"]
            texts = [text for text in plot["texts"] if text["text"].strip()]
            for text in texts:
                x0, y0, x1, y1 = text["box"]
                if text["size"] < SMALLEST_LETTERS:
                    found.append(f"{text['text']} has {text['size']:.1f} pixels")
                if x0 < left - 2 or y0 < top - 2 or x1 > right + 2 or y1 > bottom + 2:
                    found.append(f"{text['text']} is cut")
            found += [
                f"{one['text']} on {other['text']}" for one, other in combinations(texts, 2) if overlap(one, other)
            ]
    return found


def overlap(one: dict, other: dict) -> bool:
    """Whether texts overlap by more than the air around letters."""
    (a, b, c, d), (e, f, g, h) = one["box"], other["box"]
    return min(c, g) - max(a, e) > 1 and min(d, h) - max(b, f) > 4


@pytest.mark.parametrize("window", range(len(WIDTHS)))
def test_nothing_is_wider_than_the_window(shown: Shown, window: int) -> None:
    assert too_wide(shown[0][window], WIDTHS[window]) == []


@pytest.mark.parametrize("window", range(len(WIDTHS)))
def test_every_figure_is_drawn(shown: Shown, window: int) -> None:
    view = shown[0][window]
    assert {figure["title"].split(":")[0] for figure in view.layout["figures"]} == set(DRAWN)
    assert not_drawn(view) == []


@pytest.mark.parametrize("window", range(len(WIDTHS)))
def test_labels_can_be_read(shown: Shown, window: int) -> None:
    view = shown[0][window]
    assert sum(len(plot["texts"]) for figure in view.layout["figures"] for plot in figure["plots"]) > 100
    assert misplaced_texts(view) == []


def test_cells_of_the_heat_map_have_their_colours(shown: Shown) -> None:
    # On the wide window all cells are in sight.
    view = shown[0][0]
    cells = view.layout["cells"]
    assert len(cells) == 4 * 3 + 4 * 2 and all(cell["box"][2] <= cell["end"] for cell in cells)
    for cell in cells:
        left, top, right, _ = cell["box"]
        inside = [left + 5, top + 5, right - 5, top + 7]
        colour = "#" + "".join(f"{part:02x}" for part in cell["colour"][:3])
        assert view.count(inside, colour) > 20, cell
        # The outline goes one pixel into the cell.
        assert (view.count(cell["box"], "#111111", tolerance=4) > 80) == cell["chosen"], cell
    assert len({tuple(cell["colour"]) for cell in cells}) > 8


def test_the_page_asks_for_nothing(shown: Shown) -> None:
    assert shown[1] == []


def test_what_is_wrong_is_seen(program: str, tmp_path: Path) -> None:
    plot = (
        '<svg width="600" height="60" viewBox="0 0 600 60"><text x="0" y="20" font-size="6">small</text>'
        '<text x="5" y="22" font-size="20">on it</text><text x="590" y="40" font-size="20">cut off</text></svg>'
    )
    page = (
        '<!DOCTYPE html><body><img src="http://example.org/x.png"><div style="width:1400px">wide</div>'
        f"<section><h2>Speed</h2><figure>{plot}</figure></section></body>"
    )
    views, asked = show(program, page, tmp_path, 600)
    assert asked == ["http://example.org/x.png"] * len(WIDTHS)
    for view, width in zip(views, WIDTHS, strict=True):
        assert any("wide" in element for element in too_wide(view, width))
        assert not_drawn(view) == ["Speed"]
        wrong = " ".join(misplaced_texts(view))
        assert "small has 6.0 pixels" in wrong and "small on on it" in wrong and "cut off is cut" in wrong
