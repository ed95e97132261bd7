"""Where training is computed: on which device, how exactly, by which processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.train.parallel.distributed import Group, process_group

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class DeviceContext:
    """Where training is computed.

    Args:
        device: of parameters, minibatches, teacher and objective.
        bf16: whether the trained network computes its products in bfloat16. Parameters, objectives, the teacher and
            whatever is computed without gradients, such as validation, stay in float32.
        group: the processes that share the work.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    bf16: bool = False
    group: Group = field(default_factory=Group)

    def forward(self) -> AbstractContextManager[object]:
        """Around the forward pass of the network that is trained."""
        if self.bf16 and torch.is_grad_enabled():
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Around what draws at random: it draws the same for the same seed, and outside nothing changes."""
        devices = [self.device] if self.device.type == "cuda" and torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed(seed)
            yield

    @property
    def identity(self) -> dict[str, bool]:
        """What of it decides the result by more than the order of sums."""
        return {"bf16": True} if self.bf16 else {}


def find_device(name: str, index: int | None = None) -> torch.device:
    """The device of this process.

    Args:
        name: one of ``DEVICES``.
        index: of the GPU; by default ``LOCAL_RANK``, so that each process of a group takes its own.

    Raises:
        UsageError: there is no such device.
    """
    if name not in DEVICES:
        raise UsageError(f"--device {name}: expected {' or '.join(DEVICES)}")
    if name == "cpu":
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", "0")) if index is None else index
    number = torch.cuda.device_count()
    if index >= number:
        raise UsageError(f"--device cuda: GPU number {index} (counted from 0) is needed, but this machine has {number}")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


@contextmanager
def device_context(device: str = "cpu", bf16: bool = False) -> Iterator[DeviceContext]:
    """Finds the device, and joins the group that ``torchrun`` has started this process for.

    Raises:
        UsageError: there is no such device, or the group cannot be formed.
        GroupError: another process has failed.
    """
    found = find_device(device)
    with process_group(found) as group:
        yield DeviceContext(found, bf16, group)
