"""How far a long piece of work has come: a bar on a terminal, plain lines in a log.

The lines are log records of this module: of level INFO where there is no terminal, and of level DEBUG beside the bar,
so that a log file (``kaldi-quant --log FILE``) holds them in both cases.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Seconds = float

Advance = Callable[[int], None]

_log = logging.getLogger(__name__)


@contextmanager
def progress(total: int | None, what: str, unit: str = "utterances", every: Seconds = 10.0) -> Iterator[Advance]:
    """Shows progress on standard error.

    Args:
        total: how many units there are; None where that is unknown.
        what: the work, such as ``"decoding"``.
        unit: what is counted.
        every: the time between two lines in a log.

    Yields:
        advance, to be called with the number of units that were just done.

    Example:
        >>> with progress(400, "decoding", unit="utterances") as advance:
        ...     advance(10)
    """
    terminal = sys.stderr.isatty()
    with _lines(total, what, unit, every, logging.DEBUG if terminal else logging.INFO) as log:
        if not terminal:
            yield log
            return
        with _bar(total, what, unit) as draw:

            def advance(number: int) -> None:
                draw(number)
                log(number)

            yield advance


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
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("/"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)


@contextmanager
def _lines(total: int | None, what: str, unit: str, every: Seconds, level: int) -> Iterator[Advance]:
    begin = last = time.monotonic()
    done = 0

    def report(now: float) -> None:
        share = f"{done} of {total} {unit} ({100 * done / total:.0f}%)" if total else f"{done} {unit}"
        _log.log(level, "%s: %s, %.1f s", what, share, now - begin)

    def advance(number: int) -> None:
        nonlocal done, last
        done += number
        now = time.monotonic()
        if now - last >= every:
            last = now
            report(now)

    yield advance
    report(time.monotonic())
