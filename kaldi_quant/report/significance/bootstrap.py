"""How far chance moves scores: test sets drawn again, with replacement, from the units of the test set.

All systems are scored on the same draws, so that what is common to them, hard utterances, cancels in differences. A
draw is scored as the test set is: by a ratio of sums, where the lower sum of a mean is the number of units.

Source: M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", 2004;
drawing at two levels: A. Davison and D. Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import UsageError

DEFAULT_REPLICATIONS = 10_000
_FEWEST_REPLICATIONS = 100
_INTERVAL = (2.5, 97.5)
# Draws at once: bounds memory to a few hundred megabytes for the largest test sets.
_DRAWN_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Interval:
    """The 95 % interval: between the 2.5th and the 97.5th percentile of the replications."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """A system's score minus another's, on the same draws.

    Attributes:
        difference: on the test set itself.
        interval: of the difference.
        p_value: two-tailed: twice the share of draws in which the sign is the other or there is no difference.
    """

    difference: float
    interval: Interval
    p_value: float


def check_draws(replications: int, seed: int) -> None:
    """Refuses what no bootstrap can be made with.

    Raises:
        UsageError: too few replications, or a negative seed.
    """
    if replications < _FEWEST_REPLICATIONS:
        raise UsageError(f"--replications must be at least {_FEWEST_REPLICATIONS}, found {replications}")
    if seed < 0:
        raise UsageError(f"--seed cannot be negative, found {seed}")


class Bootstrap:
    """The scores of several systems on draws from one test set.

    Args:
        amounts: (units, systems), parts of the upper sum, such as errors: a unit is what is drawn, an utterance or all
            of a speaker.
        out_of: (units,), parts of the lower sum, which all systems have in common, such as words of the references.
        replications: how often the test set is drawn.
        seed: of the random draws.
        scale: of the ratio of the sums: 100 for percent.

    Raises:
        UsageError: too few replications, or a negative seed.
    """

    def __init__(
        self,
        amounts: np.ndarray,
        out_of: np.ndarray,
        replications: int = DEFAULT_REPLICATIONS,
        seed: int = 0,
        scale: float = 1.0,
    ) -> None:
        check_draws(replications, seed)
        self.replications, self.seed, self.units = replications, seed, len(out_of)
        self._observed = scale * amounts.sum(axis=0) / out_of.sum()
        totals = self._draw(np.concatenate([amounts, out_of[:, None]], axis=1).astype(np.float64))
        totals = totals[totals[:, -1] > 0]
        # (replications, systems)
        self._scores = scale * totals[:, :-1] / totals[:, -1:]

    def _draw(self, amounts: np.ndarray) -> np.ndarray:
        """(replications, columns): the sums of the amounts (units, columns) over each draw."""
        random = np.random.default_rng(self.seed)
        at_once = max(1, _DRAWN_AT_ONCE // self.units)
        # Column by column: the products of equal columns are then equal to the last bit, and their difference is 0.
        columns = [np.ascontiguousarray(column) for column in amounts.T]
        totals = []
        for begin in range(0, self.replications, at_once):
            number = min(at_once, self.replications - begin)
            drawn = random.integers(0, self.units, (number, self.units))
            drawn += np.arange(number)[:, None] * self.units
            times = np.bincount(drawn.ravel(), minlength=number * self.units).reshape(number, self.units)
            weights = times.astype(np.float64)
            totals.append(np.stack([weights @ column for column in columns], axis=1))
        return np.concatenate(totals)

    def interval(self, system: int) -> Interval:
        """Of one system's score."""
        return self.mean_interval([system])

    def compare(self, system: int, reference: int) -> PairedDifference:
        """One system with another."""
        return self.compare_means([system], [reference])

    def mean_interval(self, systems: Sequence[int]) -> Interval:
        """Of the mean of systems that were trained in the same way."""
        return _interval(self._mean_scores(systems, np.random.default_rng(self.seed)))

    def compare_means(self, systems: Sequence[int], references: Sequence[int]) -> PairedDifference:
        """The mean of some systems with that of others.

        Each draw of the test set is scored by a draw, with replacement, from the systems of each kind: so the interval
        knows of the chance in training, too.
        """
        random = np.random.default_rng(self.seed)
        return self._compared(systems, references, random, random)

    def compare_pairs(self, systems: Sequence[int], references: Sequence[int]) -> PairedDifference:
        """The mean of some systems with that of others, each of which was made from the one at its place.

        What is drawn are the pairs, so that what training does to both by chance cancels.
        """
        assert len(systems) == len(references)
        return self._compared(systems, references, *(np.random.default_rng(self.seed) for _ in range(2)))

    def _compared(
        self, systems: Sequence[int], references: Sequence[int], one: np.random.Generator, other: np.random.Generator
    ) -> PairedDifference:
        differences = self._mean_scores(systems, one) - self._mean_scores(references, other)
        tail = int(min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0)))
        # The test set itself is one more draw: no finite number of draws shows that something never happens.
        p_value = min(1.0, 2.0 * (tail + 1) / (len(differences) + 1))
        observed = self._observed[list(systems)].mean() - self._observed[list(references)].mean()
        return PairedDifference(float(observed), _interval(differences), p_value)

    def _mean_scores(self, systems: Sequence[int], random: np.random.Generator) -> np.ndarray:
        """(replications,)."""
        drawn = random.integers(0, len(systems), (len(self._scores), len(systems)))
        return np.take_along_axis(self._scores[:, list(systems)], drawn, axis=1).mean(axis=1)


def _interval(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, _INTERVAL)
    return Interval(float(low), float(high))
