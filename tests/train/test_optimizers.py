"""Steps are those of torch's optimizers."""

import re
from typing import Any

import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.train.optimizer import OptimizerOptions, Stepper
from kaldi_quant.train.parameters import TrainedComponent

FREE = {"clip_norm": 0.0, "max_param_change": 0.0}


def steps(optimizer: Any, parameter: torch.nn.Parameter, rates: list[float]) -> list[torch.Tensor]:
    """What becomes of a parameter by the same random gradients, which grow smaller."""
    generator = torch.Generator().manual_seed(1)
    places = []
    for number, rate in enumerate(rates):
        parameter.grad = torch.randn(5, 3, generator=generator) / (number + 1)
        if isinstance(optimizer, Stepper):
            assert optimizer.step(rate, 100.0, 1)
        else:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        places.append(parameter.detach().clone())
    return places


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))


def found(options: OptimizerOptions, rates: list[float], **limits: Any) -> list[torch.Tensor]:
    changed = parameter()
    return steps(Stepper([TrainedComponent("layer", {"weight": changed}, **limits)], options), changed, rates)


RATES = [1e-2 * 0.8**i for i in range(12)]


def assert_equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_by_default_steps_are_adam_s_to_the_last_bit() -> None:
    expected = parameter()
    assert_equal(found(OptimizerOptions(**FREE), RATES), steps(torch.optim.Adam([expected]), expected, RATES))


def test_amsgrad_is_torch_s() -> None:
    expected = parameter()
    there = steps(torch.optim.Adam([expected], amsgrad=True), expected, RATES)
    here = found(OptimizerOptions(amsgrad=True, **FREE), RATES)
    assert_equal(here, there)
    assert not torch.equal(here[-1], found(OptimizerOptions(**FREE), RATES)[-1])


def test_weight_decay_is_adamw_s() -> None:
    expected = parameter()
    there = steps(torch.optim.AdamW([expected], weight_decay=0.3), expected, RATES)
    assert_equal(found(OptimizerOptions(weight_decay=0.3, **FREE), RATES), there)


def test_an_l2_penalty_is_the_weight_decay_of_torch_s_adam() -> None:
    expected = parameter()
    there = steps(torch.optim.Adam([expected], weight_decay=0.3), expected, RATES)
    here = found(OptimizerOptions(l2_penalty=0.3, **FREE), RATES)
    assert_equal(here, there)
    assert_equal(
        found(OptimizerOptions(l2_penalty=0.3, **FREE), RATES, decays=False), found(OptimizerOptions(**FREE), RATES)
    )


def test_sgd_is_torch_s_for_gradients_summed_over_the_minibatch() -> None:
    expected = parameter()
    there = steps(torch.optim.SGD([expected]), expected, [100 * rate for rate in RATES])
    assert_equal(found(OptimizerOptions("sgd", **FREE), RATES), there)


@pytest.mark.parametrize("factor", [5.0, 0.25, 0.0])
def test_decay_is_the_same_share_of_all_components(factor: float) -> None:
    options, plain = OptimizerOptions(weight_decay=0.5, **FREE), OptimizerOptions(**FREE)
    decayed, kept = (found(each, [0.1], learning_rate_factor=factor)[0] for each in (options, plain))
    # Adam's own step comes after the decay, and does not know of it.
    share = 0.1 * 0.5 if factor else 0.0
    torch.testing.assert_close(decayed - kept, -share * parameter().detach(), atol=1e-7, rtol=1e-5)


def test_what_has_no_meaning_near_zero_does_not_decay() -> None:
    decayed = found(OptimizerOptions(weight_decay=0.5, **FREE), RATES, decays=False)
    assert_equal(decayed, found(OptimizerOptions(**FREE), RATES))


def test_weights_stay_within_a_limit_after_each_step() -> None:
    limited = found(OptimizerOptions(**FREE, max_weight=0.25), RATES)
    free = found(OptimizerOptions(**FREE), RATES)
    assert torch.equal(limited[0], free[0].clamp(-0.25, 0.25))
    assert all(float(place.abs().max()) <= 0.25 for place in limited)
    assert_equal(found(OptimizerOptions(**FREE, max_weight=0.25), RATES, decays=False), free)


def test_a_checkpoint_keeps_amsgrad_s_largest_squares() -> None:
    options = OptimizerOptions(amsgrad=True, weight_decay=0.1, **FREE)
    whole, resumed = parameter(), parameter()
    steppers = [Stepper([TrainedComponent("layer", {"weight": p})], options) for p in (whole, resumed)]
    for stepper, changed in zip(steppers, (whole, resumed), strict=True):
        steps(stepper, changed, RATES)
    other = Stepper([TrainedComponent("layer", {"weight": resumed})], options)
    other.load_state(steppers[1].state())
    assert_equal(steps(steppers[0], whole, RATES), steps(other, resumed, RATES))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("nadam", {}, "the optimizer 'nadam' is not one of adam, sgd"),
        ("sgd", {"amsgrad": True}, "--amsgrad has an effect only with --optimizer adam"),
        ("sgd", {"weight_decay": 0.01}, "--weight-decay 0.01 has an effect only with --optimizer adam"),
        ("adam", {"momentum": 0.5}, "--momentum 0.5 has an effect only with --optimizer sgd"),
        ("adam", {"weight_decay": -1.0}, "--weight-decay -1: expected 0 or more"),
        ("adam", {"max_weight": -1.0}, "a largest weight of -1: expected a number above 0, or 0 for no limit"),
        ("adam", {"l2_penalty": -1.0}, "an L2 penalty of -1: expected 0 or more"),
        ("adam", {"weight_decay": float("nan")}, "--weight-decay nan: expected 0 or more"),
    ],
)
def test_what_cannot_be(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        OptimizerOptions(name, **options)
