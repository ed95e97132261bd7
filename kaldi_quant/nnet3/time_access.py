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
        if not len(t):
            return t
        first, last, origin, strides = self._strides(np.unique(t - t % self.period))
        begun = np.zeros((strides + 1) * self.step, np.int32)
        begun[first - origin] = 1
        begun[last + self.step - origin] -= 1
        return origin + np.flatnonzero(begun.reshape(-1, self.step).cumsum(axis=0))

    def computable(self, t: Times, available: Available) -> np.ndarray:
        if not len(t):
            return np.ones((1, 0), bool)
        first, last, origin, strides = self._strides(t)
        table = available(np.arange(origin, origin + strides * self.step))
        counts = table.reshape(len(table), strides, self.step).cumsum(axis=1, dtype=np.int32).reshape(len(table), -1)
        result = counts[:, last - origin] > counts[:, first - self.step - origin]
        return result & (t % self.step == 0) if self.only_multiples else result

    def _strides(self, t: Times) -> tuple[Times, Times, int, int]:
        """First and last input times, and origin and number of the strides of one step that hold them all.

        Counted along a column of strides, a range is the difference of two counts; a stride before the first is free.
        """
        first = self.bounds(t)[0]
        last = first + (self.left + self.right) // self.step * self.step
        origin = int(first.min()) - self.step
        return first, last, origin, -(-(int(last.max()) + 1 - origin) // self.step)
