"""Results that threads make before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(make: Callable[[Given], Made], wanted: Iterable[Given], workers: int) -> Iterator[Made]:
    """The results of a function, in order.

    Args:
        make: the function; several threads call it at a time.
        wanted: its arguments.
        workers: threads, each of which is one result ahead; 0 for none: results are made when they are asked for.

    Yields:
        what ``make`` gives; what it raises is raised here.
    """
    if not workers:
        yield from map(make, wanted)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        begun: deque[Future[Made]] = deque()
        try:
            for argument in wanted:
                begun.append(pool.submit(make, argument))
                if len(begun) > workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
