"""Processes that train one model together, each on its share of every minibatch (data-parallel training).

``torchrun`` starts them. Gradients are summed by hand, in one all-reduce of all parameters, and not by torch's
DistributedDataParallel: that averages over processes, where shares of a minibatch have unlike numbers of frames; it
waits for a gradient of every parameter, which a process without a share does not have; and it wraps ``forward``, while
losses here call ``outputs`` and read the network's graph.

Every exchange begins with a few numbers of each process, of which one says whether it has failed. What goes wrong in
one process is thereby known to the others where they meet next, and none waits for ever.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from kaldi_quant.errors import KaldiQuantError, UsageError

# What processes meet for; they must agree about it.
_STEP, _GATHER, _BROADCAST, _END, _FAILURE = range(5)
_NUMBERS = 3

_PLACE = re.compile(r"^(\[[^]]*\] ?)+")


class GroupError(KaldiQuantError):
    """Another process has failed, or has gone."""


class Group:
    """The processes, seen from one of them; without arguments the only one.

    Args:
        rank: of this process, from 0.
        size: their number.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and says what happens."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Which elements of a sequence this process takes: every size-th."""
        return slice(self.rank, None, self.size)

    def sum_gradients(
        self, parameters: Sequence[Tensor], weight: float, sequences: int, ok: bool
    ) -> tuple[float, int, bool]:
        """Puts the gradient of the mean over the whole minibatch in the place of that over this process's share.

        Args:
            parameters: the same in all processes, on one device.
            weight: the frames over which this process's loss was averaged; 0 for none.
            sequences: of its share.
            ok: False where its loss is no finite number: gradients then stay as they are in all processes.

        Returns:
            the same three of the whole minibatch.
        """
        if self.size == 1:
            return weight, sequences, ok
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        flat = _flattened(trained, weight)
        rows = self._meet(_STEP, weight, sequences, ok)
        total, number = sum(row[0] for row in rows), int(sum(row[1] for row in rows))
        if not (all(row[2] for row in rows) and total):
            return total, number, False
        self._call(distributed.all_reduce, flat)
        _give_back(flat, trained, total)
        return total, number, True

    def gather(self, value: Any) -> list[Any]:
        """What each process says, by rank.

        Args:
            value: as JSON takes it.
        """
        if self.size == 1:
            return [value]
        content = _bytes(json.dumps(value).encode())
        lengths = [int(row[0]) for row in self._meet(_GATHER, len(content))]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(content)] = content
        parts = [torch.empty_like(padded) for _ in lengths]
        self._call(distributed.all_gather, parts, padded)
        return [json.loads(part[:length].numpy().tobytes()) for part, length in zip(parts, lengths, strict=True)]

    def broadcast_bytes(self, content: bytes | None) -> bytes | None:
        """What process 0 has, or None where it has nothing; what others give is not looked at."""
        if self.size == 1:
            return content
        length = int(self._meet(_BROADCAST, -1 if content is None else len(content))[0][0])
        if length < 0:
            return None
        data = _bytes(content) if self.is_main and content else torch.empty(length, dtype=torch.uint8)
        self._call(distributed.broadcast, data, 0)
        return data.numpy().tobytes()

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Makes tensors equal to those of process 0, to the bit."""
        if self.size == 1:
            return
        tensors = list(tensors)
        self._meet(_BROADCAST, len(tensors))
        for tensor in tensors:
            # Into a copy: copying back tells whoever has derived something from the tensor that it has changed.
            copy = tensor.detach().clone(memory_format=torch.contiguous_format)
            self._call(distributed.broadcast, copy, 0)
            if not self.is_main:
                tensor.copy_(copy)

    def end(self) -> None:
        """Waits until all have done their work."""
        if self.size > 1:
            self._meet(_END)

    def fail(self) -> None:
        """Lets the others know that this process has failed; says nothing more where one before it will say why."""
        if self.size == 1:
            return
        try:
            rows = self._rows(True, _FAILURE)
        except GroupError:
            return
        if any(row[0] for row in rows[: self.rank]):
            _be_silent()

    def _meet(self, kind: int, *numbers: float) -> list[list[float]]:
        rows = self._rows(False, kind, *numbers)
        failed = [str(rank) for rank, row in enumerate(rows) if row[0]]
        if failed:
            _be_silent()
            raise GroupError(f"process {', '.join(failed)} of {self.size} has failed and says why")
        if any(row[1] != kind for row in rows):
            raise GroupError("the processes are out of step: do all of them see the same examples?")
        return [row[2:] for row in rows]

    def _rows(self, failed: bool, kind: int, *numbers: float) -> list[list[float]]:
        own = torch.zeros(2 + _NUMBERS, dtype=torch.float64)
        own[: 2 + len(numbers)] = torch.tensor([failed, kind, *numbers], dtype=torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        self._call(distributed.all_gather, rows, own)
        return [row.tolist() for row in rows]

    @staticmethod
    def _call(function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except RuntimeError as error:
            raise GroupError(f"another process of the training has gone ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What torch says, without the place in its sources."""
    return _PLACE.sub("", " ".join(str(error).split()))[:120]


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _be_silent() -> None:
    """From now on nothing is said: another process says it. The command makes it talk again when it ends."""
    logging.getLogger("kaldi_quant").setLevel(logging.CRITICAL + 1)


@torch.no_grad()
def _flattened(parameters: Sequence[Tensor], weight: float) -> Tensor:
    """All gradients times the weight, and for each parameter a number that is above 0 where it has a gradient."""
    parts = [torch.zeros_like(p).view(-1) if p.grad is None else p.grad.reshape(-1) for p in parameters]
    there = parts[0].new_tensor([float(p.grad is not None) for p in parameters])
    return torch.cat([*parts, there]).mul_(weight)


@torch.no_grad()
def _give_back(flat: Tensor, parameters: Sequence[Tensor], total: float) -> None:
    there = flat[len(flat) - len(parameters) :].tolist()
    parts = flat[: len(flat) - len(parameters)].div_(total).split([p.numel() for p in parameters])
    for parameter, part, found in zip(parameters, parts, there, strict=True):
        parameter.grad = part.view_as(parameter) if found > 0 else None


@contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """Joins the group that ``torchrun`` has started this process for; the only process where it has not.

    An exception inside the block reaches all processes: where they meet next, the others raise ``GroupError``. From
    process 1 on nothing but errors is reported. Messages go over gloo, gradients on CUDA devices over NCCL.

    Args:
        device: of this process's network.

    Raises:
        UsageError: the group cannot be formed.
        GroupError: another process has failed.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group()
        return
    # Imported later, by optimizers, it would keep the group as its functions' default for ever: gloo's threads would
    # outlive it, and now and then abort the process when Python ends.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            "RANK and WORLD_SIZE are set, as torchrun sets them, and its processes do not find each other: "
            f"{_reason(error)}"
        ) from error
    group = Group(distributed.get_rank(), distributed.get_world_size())
    if not group.is_main:
        logging.getLogger("kaldi_quant").setLevel(logging.ERROR)
    try:
        yield group
        group.end()
    except GroupError:
        raise
    except Exception:
        group.fail()
        raise
    finally:
        distributed.destroy_process_group()
