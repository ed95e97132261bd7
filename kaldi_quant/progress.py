"""How far a long piece of work has come: a bar on a terminal, plain lines in a log.

The lines are log records of this module: of level INFO where there is no terminal, and of level DEBUG beside the bar,
so that a log file (``kaldi-quant --log FILE``) holds them in both cases. Work within other work whose bar is drawn
has no bar of its own.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from kaldi_quant.units import Seconds


class Advance(Protocol):
    """Is told what has come to pass."""

    def __call__(self, number: int, current: str = "", /) -> None:
        """So many units were just done; ``current`` is the one that is worked on from now on."""


_log = logging.getLogger(__name__)

# The time left is told from this share of the work on.
_LEAST_SHARE = 0.05

_BAR_IS_DRAWN: ContextVar[bool] = ContextVar("a bar is drawn", default=False)


@contextmanager
def progress(
    total: int | None, what: str, unit: str = "utterances", every: Seconds = 10.0, brief: bool = False
) -> Iterator[Advance]:
    """Shows progress on standard error.

    Args:
        total: how many units there are; None where that is unknown.
        what: the work, such as ``"decoding"``.
        unit: what is counted.
        every: the time between two lines in a log.
        brief: whether nothing is said of work that took less time than that.

    Yields:
        advance, to be called with the number of units that were just done, and with the name of the next one if it has
        one.

    Example:
        >>> with progress(400, "decoding", unit="utterances") as advance:
        ...     advance(10)
    """
    terminal = sys.stderr.isatty()
    with _lines(total, what, unit, every, logging.DEBUG if terminal else logging.INFO, brief) as log:
        if not terminal or _BAR_IS_DRAWN.get():
            yield log
            return
        with _drawing(), _bar(total, what, unit) as draw:

            def advance(number: int, current: str = "", /) -> None:
                draw(number, current)
                log(number, current)

            yield advance


@contextmanager
def _drawing() -> Iterator[None]:
    token = _BAR_IS_DRAWN.set(True)
    try:
        yield
    finally:
        _BAR_IS_DRAWN.reset(token)


@contextmanager
def _bar(total: int | None, what: str, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("/"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)

        def draw(number: int, current: str = "", /) -> None:
            bar.update(task, advance=number, description=f"{what} {current}".rstrip())

        yield draw


@contextmanager
def _lines(total: int | None, what: str, unit: str, every: Seconds, level: int, brief: bool) -> Iterator[Advance]:
    begin = last = time.monotonic()
    done, at = 0, ""

    def report(now: float) -> None:
        share = f"{done} of {total} {unit} ({100 * done / total:.0f}%)" if total else f"{done} {unit}"
        # Of the first few units the time is no measure of the others'.
        unfinished = total is not None and _LEAST_SHARE * total <= done < total and done > 0
        left = f" ({(total - done) * (now - begin) / done:.0f} s left)" if unfinished and total else ""
        _log.log(level, "%s: %s%s, %.1f s%s", what, share, f", now {at}" if at else "", now - begin, left)

    def advance(number: int, current: str = "", /) -> None:
        nonlocal done, last, at
        done, at = done + number, current
        now = time.monotonic()
        if now - last >= every:
            last = now
            report(now)

    yield advance
    at, now = "", time.monotonic()
    if not brief or now - begin >= every:
        report(now)
