"""Frames per second of several ways to compute log-likelihoods, as ratios to the first.

All take turns within each round, so that whatever else the machine does hits all alike; a ratio is made within each
round, and its median over the rounds is the result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from kaldi_quant.errors import UsageError
from kaldi_quant.units import Frames, Seconds

DEFAULT_ROUNDS = 7


@dataclass(frozen=True)
class Timed:
    """Work whose time the runner measured itself, because not all of the call is work."""

    frames: Frames
    seconds: Seconds


#: Computes some speech; returns how many feature frames that was.
Runner = Callable[[], Frames | Timed]


@dataclass(frozen=True)
class Speed:
    """One runner's result.

    Attributes:
        frames_per_second: median over the rounds.
        ratio: to the first runner in the same round, median over the rounds.
        lowest, highest: that ratio's range.
    """

    frames_per_second: float
    ratio: float
    lowest: float
    highest: float


#: By the runner's name; the first is what the others are relative to.
Speeds = dict[str, Speed]


def measure(runners: Mapping[str, Runner], rounds: int = DEFAULT_ROUNDS) -> Speeds:
    """Measures runners, each once in every round; a first call of each is not counted.

    Args:
        runners: the first is what the others are relative to.
        rounds: how many.

    Raises:
        UsageError: less than one round.
    """
    if rounds < 1:
        raise UsageError(f"--speed-rounds must be at least 1, found {rounds}")
    for run in runners.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            rates[name].append(_rate(run))
    first = next(iter(rates.values()), [])
    return {name: _speed(values, first) for name, values in rates.items()}


def _rate(run: Runner) -> float:
    begin = time.perf_counter()
    work = run()
    seconds = time.perf_counter() - begin
    timed = work if isinstance(work, Timed) else Timed(work, seconds)
    return timed.frames / timed.seconds


def _speed(rates: list[float], first: list[float]) -> Speed:
    ratios = [rate / other for rate, other in zip(rates, first, strict=True)]
    return Speed(statistics.median(rates), statistics.median(ratios), min(ratios), max(ratios))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch to one thread within the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
