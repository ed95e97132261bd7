"""Torch's optimizers without its compiler: the same steps, also from a state that was kept; no import."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer

from kaldi_quant.plain_optimizer import plain
from tests.recipes import ROOT


def after(kind: type[Optimizer], **options: Any) -> torch.Tensor:
    """What some steps make of parameters; after three of them another optimizer goes on from the state."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in (20, 3)]
    groups: Any = [{"params": parameters, "lr": 1e-2, "weight_decay": 0.1}]
    optimizer = kind(groups, **options)
    for number in range(6):
        optimizer.zero_grad(set_to_none=True)
        torch.stack([values.pow(3).sum() for values in parameters]).sum().backward()
        optimizer.step()
        if number == 2:
            state = optimizer.state_dict()
            optimizer = kind(groups, **options)
            optimizer.load_state_dict(state)
    assert all(values.requires_grad for values in parameters)
    return torch.cat([values.detach() for values in parameters])


@pytest.mark.parametrize(
    ("kind", "options"), [(AdamW, {"amsgrad": True}), (AdamW, {}), (SGD, {"momentum": 0.9}), (SGD, {})]
)
def test_steps_are_torch_s(kind: type[Optimizer], options: dict[str, Any]) -> None:
    assert torch.equal(after(plain(kind), **options), after(kind, **options))
    # Torch's class was changed by its first optimizer: its profiler watches the steps.
    assert torch.equal(after(plain(kind), **options), after(kind, **options))


def test_training_does_not_import_the_compiler() -> None:
    program = """
import sys, torch
from kaldi_quant.train.optimizer import OptimizerOptions, Stepper
from kaldi_quant.train.parameters import TrainedComponent
for name in ("adam", "sgd"):
    parameter = torch.nn.Parameter(torch.ones(3))
    stepper = Stepper([TrainedComponent("layer", {"weight": parameter})], OptimizerOptions(name))
    stepper.zero_grad()
    parameter.square().sum().backward()
    stepper.step(0.1, 1.0, 1)
    stepper.load_state(stepper.state())
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
