"""Learning rates: by hand, or as torch's own schedulers have them."""

import math
import random
import re
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from kaldi_quant.cli.train import command
from kaldi_quant.errors import UsageError
from kaldi_quant.train.optimizer_kinds import OPTIMIZERS
from kaldi_quant.train.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Plateau,
    Schedule,
    Step,
    defaults_of,
    schedule_of,
)

KNOWN = "exponential, constant, step, cosine, plateau"
ONLY = "has an effect only with --lr-schedule"


def rates(schedule: Schedule, iterations: int, scores: list[float] | None = None) -> list[float]:
    return [schedule.rate(i, iterations, [] if scores is None else scores[:i]) for i in range(iterations)]


def optimizer(rate: float) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_the_default_is_kaldi_s_to_the_last_bit() -> None:
    found = rates(schedule_of("exponential", 1e-3), 10)
    assert found == [1e-3 * (1e-5 / 1e-3) ** (i / 10) for i in range(9)] + [1e-5]
    assert found[0] == 1e-3 and found[5] == pytest.approx(1e-4)
    assert rates(Exponential(1e-3, 1e-5), 1) == [1e-3]


def test_a_constant_one_stays() -> None:
    assert rates(Constant(3e-4), 4) == [3e-4] * 4


def test_steps_are_torch_s() -> None:
    descent = optimizer(0.01)
    scheduler, expected = StepLR(descent, step_size=3, gamma=0.2), []
    for _ in range(10):
        expected += scheduler.get_last_lr()
        descent.step()
        scheduler.step()
    assert rates(Step(0.01, every=3, factor=0.2), 10) == pytest.approx(expected, rel=1e-12)
    assert rates(Step(0.01), 21)[19:] == pytest.approx([0.01, 0.001])


def test_the_cosine_is_torch_s_and_ends_at_the_last_iteration() -> None:
    descent = optimizer(0.01)
    scheduler, expected = CosineAnnealingLR(descent, T_max=9, eta_min=1e-4), []
    for _ in range(10):
        expected += scheduler.get_last_lr()
        descent.step()
        scheduler.step()
    found = rates(Cosine(0.01, 1e-4), 10)
    assert found == pytest.approx(expected, rel=1e-9)
    assert (found[0], found[-1]) == (0.01, 1e-4)
    assert rates(Cosine(0.01, 1e-4), 1) == [0.01]


def test_a_plateau_by_hand() -> None:
    scores = [-3.0, -2.0, -2.0, -2.5, -1.0, -1.5, -1.5, -1.5, -1.5, 0.0]
    found = rates(Plateau(0.8, 0.15, patience=2, factor=0.5), 10, scores)
    # Two without a better one are iterations 2 and 3, 5 and 6, 7 and 8; equal is no better.
    assert found == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2, 0.15]


def test_a_plateau_may_be_held_at_the_beginning() -> None:
    scores = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]
    found = rates(Plateau(0.8, 0.1, patience=2, factor=0.5, hold=2), 6, scores)
    # Of iterations 0 and 1 nothing is known: 2 is the best so far, 3 and 4 are no better.
    assert found == [0.8, 0.8, 0.8, 0.8, 0.8, 0.4]


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_plateaus_are_torch_s(patience: int) -> None:
    generator = random.Random(patience)
    scores = [round(generator.gauss(i / 40, 1), 1) for i in range(60)]
    scores[7] = math.nan
    descent = optimizer(1.0)
    scheduler = ReduceLROnPlateau(
        descent, mode="max", factor=0.7, patience=patience - 1, threshold=0.0, min_lr=0.05, eps=0.0
    )
    expected = []
    for score in scores:
        expected.append(descent.param_groups[0]["lr"])
        scheduler.step(score)
    found = rates(Plateau(1.0, 0.05, patience=patience, factor=0.7), 60, scores)
    assert found == expected
    assert len(set(found)) > 3


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("linear", {}, f"the learning-rate schedule 'linear' is not one of {KNOWN}"),
        ("linear", {"final": 1e-5}, f"the learning-rate schedule 'linear' is not one of {KNOWN}"),
        ("exponential", {"final": 1.0}, "--lr-initial 0.1 and --lr-final 1: expected 0 < final <= initial"),
        ("constant", {"final": 1e-6}, f"--lr-final 1e-06 {ONLY} exponential, cosine or plateau"),
        ("plateau", {"every": 5}, f"--lr-every 5 {ONLY} step"),
        ("cosine", {"factor": 0.5}, f"--lr-factor 0.5 {ONLY} step or plateau"),
        ("step", {"patience": 2}, f"--lr-patience 2 {ONLY} plateau"),
        ("step", {"every": 0}, "--lr-every 0: expected 1 or more"),
        ("plateau", {"patience": 0}, "--lr-patience 0: expected 1 or more"),
        ("plateau", {"factor": math.nan}, "--lr-factor nan: expected a number between 0 and 1, both excluded"),
        ("plateau", {"hold": -1}, "a plateau's hold of -1 iterations: expected 0 or more"),
        ("step", {"factor": 1.0}, "--lr-factor 1: expected a number between 0 and 1, both excluded"),
    ],
)
def test_what_cannot_be(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        schedule_of(name, 0.1, **options)


@pytest.mark.parametrize("name", ["constant", "step"])
@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_rates_are_above_zero(name: str, rate: float) -> None:
    with pytest.raises(UsageError, match=r"^--lr-initial .*: expected a number above 0$"):
        schedule_of(name, rate)


def test_records_tell_schedules_with_the_same_values_apart() -> None:
    assert Exponential(1e-3, 1e-5).as_dict() == {"name": "exponential", "initial": 1e-3, "final": 1e-5}
    found = [SCHEDULES[name](1e-3).as_dict() for name in SCHEDULES]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])


def test_the_command_offers_what_is_registered() -> None:
    choices = {option.name: option.type for option in command.params}
    assert choices["lr_schedule"].to_info_dict()["choices"] == tuple(SCHEDULES) == tuple(KNOWN.split(", "))
    assert choices["optimizer"].to_info_dict()["choices"] == tuple(OPTIMIZERS)


def test_options_and_their_defaults_are_those_of_the_schedules() -> None:
    assert defaults_of("factor") == {"step": 0.1, "plateau": 0.5}
    assert defaults_of("final") == dict.fromkeys(["exponential", "cosine", "plateau"], 1e-5)
    assert defaults_of("every") == {"step": 20} and defaults_of("patience") == {"plateau": 3}
