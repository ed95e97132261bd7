"""Minibatches with what the float network makes of them, for distillation."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.torchnn.batches import Passes
from kaldi_quant.torchnn.data import digest_of

#: (N, C, T) and (N, S, C, T).
Pair = tuple[Tensor, Tensor]
#: (N, C, T), and sources and float estimates, (N, S, C, T) each.
TaughtPair = tuple[Tensor, tuple[Tensor, Tensor]]


class Taught(Passes):
    """Minibatches whose targets have the float network's estimates beside the sources.

    Args:
        batches: of mixtures and sources: ``Passes``, or pairs that are the same on each pass.
        teacher: the float network, mixtures (N, C, T) to sources (N, S, C, T); it is copied, and runs in test mode
            without gradients, once for each minibatch.
        device: where it runs; its estimates are there.

    Raises:
        UsageError: there are no minibatches.
    """

    def __init__(
        self, batches: Passes | Iterable[Pair], teacher: nn.Module, device: torch.device | None = None
    ) -> None:
        self.batches = batches if isinstance(batches, Passes) else list(batches)
        self.device = device or torch.device("cpu")
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False).to(self.device)
        if not len(self.batches):
            raise UsageError("there is nothing to distil from: expected a minibatch or more")

    def __len__(self) -> int:
        """Minibatches of a pass."""
        return len(self.batches)

    def minibatches(self, number: int) -> Iterator[TaughtPair]:
        """Those of a pass, in the order of ``batches``; pairs that are the same each time in another one.

        Raises:
            DataError: the float network makes something else than sources of them.
        """
        if isinstance(self.batches, Passes):
            return (self._taught(*pair) for pair in self.batches.minibatches(number))
        order = torch.randperm(len(self.batches), generator=torch.Generator().manual_seed(number))
        return (self._taught(*self.batches[place]) for place in order.tolist())

    @torch.no_grad()
    def _taught(self, mixture: Tensor, sources: Tensor) -> TaughtPair:
        estimates = self.teacher(mixture.to(self.device))
        if estimates.shape != sources.shape:
            raise DataError(
                f"the float network makes {(*estimates.shape,)} of mixtures whose sources are {(*sources.shape,)}"
            )
        return mixture, (sources, estimates)

    def held_out(self, batches: Iterable[Pair]) -> list[Any]:
        """Other minibatches, taught in the same way."""
        return [self._taught(*pair) for pair in batches]

    def digest(self) -> str:
        """What tells them from others: the minibatches, and all that the teacher computes with."""
        found = hashlib.sha256()
        if isinstance(self.batches, Passes):
            found.update(self.batches.digest().encode())
        else:
            for pair in self.batches:
                for x in pair:
                    found.update(digest_of(x))
        for name, value in self.teacher.state_dict().items():
            found.update(name.encode() + digest_of(value.cpu()))
        return found.hexdigest()
