"""Work done ahead of its use, in a thread: the next minibatches are read while one is trained on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass
class _Result(Generic[Item]):
    """An item, or how the work ended: ``error`` is None at a regular end."""

    item: Item | None = None
    ended: bool = False
    error: BaseException | None = None


def read_ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yields the same items in the same order, made in a thread up to ``depth`` items before they are asked for.

    The thread ends, and the source is closed if it is a generator, when the items end, when one cannot be made (the
    error appears here), and when this iterator is closed or forgotten.

    Args:
        items: what makes the items; it is used in the thread alone.
        depth: how many finished items wait at most; 0 works without a thread.
    """
    if depth < 1:
        yield from items
        return
    ready: queue.Queue[_Result[Item]] = queue.Queue(depth)
    stop = threading.Event()
    worker = threading.Thread(target=_work, args=(items, ready, stop), name="read ahead", daemon=True)
    worker.start()
    try:
        while not (result := ready.get()).ended:
            yield result.item  # type: ignore[misc]
        if result.error is not None:
            raise result.error
    finally:
        stop.set()
        worker.join()


def _work(items: Iterable[Item], ready: queue.Queue[_Result[Item]], stop: threading.Event) -> None:
    iterator = iter(items)
    last: _Result[Item] = _Result(ended=True)
    try:
        for item in iterator:
            if not _put(_Result(item), ready, stop):
                break
    except BaseException as error:  # noqa: BLE001 - whatever happened is raised where the items are used
        last.error = error
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
    _put(last, ready, stop)


def _put(result: _Result[Item], ready: queue.Queue[_Result[Item]], stop: threading.Event) -> bool:
    """Waits for a free place; False when nobody asks any more."""
    while not stop.is_set():
        try:
            ready.put(result, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
