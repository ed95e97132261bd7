"""Which input times a component reads to compute its output at a time.

Source: ``GetInputIndexes`` and ``IsComputable`` of the components in ``src/nnet3``. All functions work on whole arrays
of times at once; ``available`` tells for an array of times, (len,), which input rows exist, (sequences, len) bool.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Times = np.ndarray
Available = Callable[[Times], np.ndarray]


class TimeAccess(ABC):
    """What a component reads, as a function of the output time."""

    @abstractmethod
    def inputs(self, t: Times) -> Times:
        """The sorted input times that outputs at ``t``, (len,), can make use of."""

    @abstractmethod
    def computable(self, t: Times, available: Available) -> np.ndarray:
        """Which outputs at ``t`` can be computed: (sequences, len) bool."""


class SameTime(TimeAccess):
    """Output at t depends on input at t alone."""

    def inputs(self, t: Times) -> Times:
        return t

    def computable(self, t: Times, available: Available) -> np.ndarray:
        return available(t)


class NoInput(TimeAccess):
    """The output does not depend on any input."""

    def inputs(self, t: Times) -> Times:
        return t[:0]

    def computable(self, t: Times, available: Available) -> np.ndarray:
        return np.ones((1, len(t)), bool)


@dataclass(frozen=True)
class TimeOffsets(TimeAccess):
    """Output at t reads input at t + offset; those that are not required count as zero where they are missing.

    Args:
        offsets: in the component's own order.
        required: the offsets without which there is no output.
    """

    offsets: tuple[int, ...]
    required: frozenset[int]

    def inputs(self, t: Times) -> Times:
        return np.unique(np.concatenate([t + offset for offset in self.offsets]))

    def computable(self, t: Times, available: Available) -> np.ndarray:
        result = np.ones((1, len(t)), bool)
        for offset in self.required:
            result = result & available(t + offset)
        return result


@dataclass(frozen=True)
class TimeRange(TimeAccess):
    """Output at t sums over the input times of a range that exist; at least one must.

    Args:
        left: the range begins ``left`` frames before its anchor.
        right: and ends ``right`` frames after it, both included.
        step: input times in the range are this many frames apart.
        period: the anchor is the largest multiple of it that is not after t.
        only_multiples: there is no output where t is not a multiple of ``step``.
    """

    left: int
    right: int
    step: int
    period: int = 1
    only_multiples: bool = False

    def bounds(self, t: Times) -> tuple[Times, Times]:
        """First and last input time of each output's range."""
        anchor = t - t % self.period
        return anchor - self.left, anchor + self.right

    def inputs(self, t: Times) -> Times:
        steps = np.arange(0, self.left + self.right + 1, self.step)
        return np.unique(self.bounds(np.unique(t - t % self.period))[0][:, None] + steps)

    def computable(self, t: Times, available: Available) -> np.ndarray:
        first = self.bounds(t)[0]
        result = np.zeros((1, len(t)), bool)
        for shift in range(0, self.left + self.right + 1, self.step):
            result = result | available(first + shift)
        return result & (t % self.step == 0) if self.only_multiples else result
