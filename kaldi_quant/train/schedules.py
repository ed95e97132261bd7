"""Learning-rate schedules: the learning rate of each iteration.

A schedule is a dataclass added to the registry, whose fields are its options: ``final`` is ``--lr-final``, and so on.
It has no state: what it makes of held-out scores follows from those that there are, and these are in the checkpoint.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from kaldi_quant.errors import UsageError
from kaldi_quant.registry import Registry
from kaldi_quant.train.own_options import check_options


@dataclass(frozen=True)
class Schedule:
    """What all schedules have in common.

    Args:
        initial: the learning rate of the first iteration.

    Raises:
        UsageError: a value is impossible.
    """

    initial: float = 1e-4

    #: Whether it looks at held-out scores.
    needs_scores: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.initial < math.inf:
            raise UsageError(f"--lr-initial {self.initial:g}: expected a number above 0")

    @abstractmethod
    def rate(self, iteration: int, iterations: int, scores: Sequence[float]) -> float:
        """The learning rate of an iteration.

        Args:
            iteration: counted from 0.
            iterations: how many there are to be.
            scores: of the iterations before it, on held-out examples, the greater the better; empty where
                ``needs_scores`` is not set.
        """

    @property
    def name(self) -> str:
        """By which it was added."""
        return next(name for name in SCHEDULES if SCHEDULES[name] is type(self))

    def as_dict(self) -> dict[str, Any]:
        """Name and values, for records."""
        return {"name": self.name, **asdict(self)}


#: All schedules.
SCHEDULES: Registry[type[Schedule]] = Registry("learning-rate schedule")


@dataclass(frozen=True)
class _Falling(Schedule):
    """Ends at a learning rate that is given.

    Args:
        final: the learning rate that is reached, or that none is below.
    """

    final: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.final <= self.initial < math.inf:
            raise UsageError(
                f"--lr-initial {self.initial:g} and --lr-final {self.final:g}: expected 0 < final <= initial"
            )


@SCHEDULES.add("exponential")
@dataclass(frozen=True)
class Exponential(_Falling):
    """Kaldi's: falls exponentially, and has ``final`` at the last iteration.

    Source: ``get_learning_rate`` in ``steps/libs/nnet3/train/common.py``.
    """

    def rate(self, iteration: int, iterations: int, scores: Sequence[float]) -> float:
        if iteration + 1 >= iterations:
            return self.final if iterations > 1 else self.initial
        return float(self.initial * (self.final / self.initial) ** (iteration / iterations))


@SCHEDULES.add("constant")
@dataclass(frozen=True)
class Constant(Schedule):
    """Stays as it is."""

    def rate(self, iteration: int, iterations: int, scores: Sequence[float]) -> float:
        return self.initial


@SCHEDULES.add("step")
@dataclass(frozen=True)
class Step(Schedule):
    """Is multiplied at regular intervals, as torch's ``StepLR``.

    Args:
        every: so many iterations. The default is that of PyTorch's tutorial on keywords (M5 on Speech Commands).
        factor: by this; the default is torch's.
    """

    every: int = 20
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("--lr-every", self.every)
        _check_factor(self.factor)

    def rate(self, iteration: int, iterations: int, scores: Sequence[float]) -> float:
        return float(self.initial * self.factor ** (iteration // self.every))


@SCHEDULES.add("cosine")
@dataclass(frozen=True)
class Cosine(_Falling):
    """Falls along half a wave of the cosine, and has ``final`` at the last iteration.

    Source: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017; here without
    restarts.
    """

    def rate(self, iteration: int, iterations: int, scores: Sequence[float]) -> float:
        share = iteration / (iterations - 1) if iterations > 1 else 0.0
        return self.final + (self.initial - self.final) * (1 + math.cos(math.pi * share)) / 2


@SCHEDULES.add("plateau")
@dataclass(frozen=True)
class Plateau(_Falling):
    """Is multiplied when the held-out score has not improved, as torch's ``ReduceLROnPlateau``; not below ``final``.

    The defaults are those of Y. Luo, N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for
    speech separation", IEEE/ACM TASLP 2019.

    Args:
        patience: for so many iterations, counted anew after each change (torch's ``patience`` plus 1).
        factor: what the learning rate is multiplied by.
        hold: so many iterations at the beginning are not looked at.
    """

    patience: int = 3
    factor: float = 0.5
    hold: int = 0

    needs_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("--lr-patience", self.patience)
        _check_factor(self.factor)
        if self.hold < 0:
            raise UsageError(f"a plateau's hold of {self.hold} iterations: expected 0 or more")

    def rate(self, iteration: int, iterations: int, scores: Sequence[float]) -> float:
        rate, best, waited = self.initial, -math.inf, 0
        for score in scores[self.hold : iteration]:
            waited = 0 if score > best else waited + 1
            best = max(best, score)
            if waited == self.patience:
                rate, waited = max(rate * self.factor, self.final), 0
        return rate


def schedule_of(name: str, initial: float, **options: float | None) -> Schedule:
    """The schedule that somebody has asked for.

    Args:
        name: of the schedule.
        initial: the learning rate of the first iteration.
        options: of any schedule, by the names of their fields; None where one was not given.

    Raises:
        UsageError: there is no such schedule, it does not have an option that was given, or a value is impossible.
    """
    given = {option: value for option, value in options.items() if value is not None}
    shown = {option: f"--lr-{option} {value:g}" for option, value in given.items()}
    check_options("--lr-schedule", SCHEDULES, name, shown, _options)
    return SCHEDULES[name](initial, **given)


def defaults_of(option: str) -> dict[str, float]:
    """The schedules that have an option, named as its field, each with its default."""
    return {name: getattr(SCHEDULES[name], option) for name in SCHEDULES if option in _options(SCHEDULES[name])}


def _options(kind: type[Schedule]) -> list[str]:
    return [field.name for field in fields(kind)]


def _check_count(option: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{option} {value}: expected 1 or more")


def _check_factor(value: float) -> None:
    if not 0 < value < 1:
        raise UsageError(f"--lr-factor {value:g}: expected a number between 0 and 1, both excluded")
