"""Early stopping: training ends when held-out examples gain nothing any more, and its best iteration is kept.

Source: I. Goodfellow, Y. Bengio, A. Courville, "Deep learning", 2016, algorithm 7.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.train.averaging import best_average
from kaldi_quant.train.steps import State, Trainer


@dataclass(frozen=True)
class Best:
    """What the best iteration has left.

    Args:
        iteration: counted from 0.
        parameters: what is trained.
        observed: what observers had found by then, such as the ranges that go with these parameters.
    """

    iteration: int
    parameters: State
    observed: State


def check_patience(patience: int) -> None:
    """Refuses numbers of iterations that cannot be.

    Raises:
        UsageError: it is negative.
    """
    if patience < 0:
        raise UsageError(f"--early-stopping {patience}: expected a number of iterations, or 0 for none")


def is_best(scores: Sequence[float]) -> bool:
    """Whether the last one is above all before it."""
    return all(scores[-1] > score for score in scores[:-1])


def is_over(scores: Sequence[float], patience: int) -> bool:
    """Whether training ends.

    Args:
        scores: of all iterations.
        patience: it ends when so many iterations are not above the best one before them; 0 for never.
    """
    return bool(patience and scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def best_or_average(trainer: Trainer, best: Best, last: Sequence[State], held_out: Callable[[], float]) -> int:
    """Leaves a model with its best iteration, or with an average of the last ones that does better still.

    Both are compared on the held-out examples, which chose the iteration, and not on those for combination: Kaldi takes
    these from the training data, and they do not tell when training was too long.

    Args:
        trainer: of the model.
        best: the best iteration.
        last: the states of the last iterations, the oldest first.
        held_out: the score of the model as it is.

    Returns:
        of how many states the average is; 0 for the best iteration.
    """
    scores: list[float] = []

    def score(state: Any) -> float:
        trainer.load(state)
        scores.append(held_out())
        return scores[-1]

    # What is compared does not move ranges.
    trainer.freeze(True)
    observed = trainer.observed()
    average, averaged = best_average(last, score)
    trainer.load_observed(best.observed)
    trainer.freeze(True)
    if score(best.parameters) >= max(scores):
        return 0
    trainer.load(average)
    trainer.load_observed(observed)
    return averaged
