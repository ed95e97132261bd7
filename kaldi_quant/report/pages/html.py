"""Building blocks of pages: one file that loads nothing from anywhere, runs nothing, and shows every text as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from kaldi_quant.report.cells import Table
from kaldi_quant.report.pages.plot_style import Plot, colour_of
from kaldi_quant.report.pages.style import CSS

# Nothing is loaded and nothing runs, whatever the names in the tables hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# What the page itself holds.
_MEDIA = "; img-src data:; media-src data:"

# Fewer sections are found by scrolling.
_FEWEST_TO_LIST = 4


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: as text.
        content: as HTML.
    """

    title: str
    content: str


def document(title: str, subtitle: str, sections: Sequence[Section], media: bool = False) -> str:
    """A whole page, with a list of its sections where they are many; media: it holds pictures and audio."""
    links = "".join(f'<a href="#part-{number}">{escape(part.title)}</a>' for number, part in enumerate(sections))
    listed = f"<nav>{links}</nav>\n" if len(sections) >= _FEWEST_TO_LIST else ""
    body = "".join(
        f'<section id="part-{number}">\n<h2>{escape(part.title)}</h2>\n{part.content}\n</section>\n'
        for number, part in enumerate(sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}{_MEDIA if media else ""}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="sub">{escape(subtitle)}</p>\n{listed}{body}</main>\n</body>\n</html>\n'
    )


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def bullets(sentences: Iterable[str]) -> str:
    """A list of sentences; nothing where there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def lead(sentences: Iterable[tuple[str, str, int]]) -> str:
    """What a reader should see first: names of models, a sentence about each, and its place, which gives its colour."""
    items = "".join(f"<li>{_key(place)}<b>{escape(name)}</b>: {escape(text)}</li>" for name, text, place in sentences)
    return f'<ul class="lead">{items}</ul>'


def figure(plot: Plot) -> str:
    """A plot with its caption: drawn once for wide windows and for paper, once for narrow windows."""
    return (
        f'<figure><div class="wide">{plot.wide}</div><div class="narrow">{plot.narrow}</div>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def folded(title: str, content: str) -> str:
    """What is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def facts(entries: Mapping[str, str]) -> str:
    """Names and what they stand for; those that stand for nothing are left out."""
    found = "".join(
        f"<dt>{escape(name)}</dt><dd><pre>{escape(text)}</pre></dd>" for name, text in entries.items() if text
    )
    return f"<dl>{found}</dl>"


def _key(position: int) -> str:
    return f'<span class="key" style="background:{colour_of(position)}"></span>'


def table(content: Table, positions: Mapping[str, int] | None = None) -> str:
    """A table, which scrolls sideways where it is wider than the page.

    Args:
        content: its cells.
        positions: names of models by their place; rows that begin with one carry its colour.
    """
    head = "".join(f"<th>{escape(text)}</th>" for text in content.headings)
    rows = []
    for first, *others in content.rows:
        key = ""
        if positions and first in positions:
            key = _key(positions[first])
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        rows.append(f"<tr><td>{key}{escape(first)}</td>{cells}</tr>\n")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table></div>'
