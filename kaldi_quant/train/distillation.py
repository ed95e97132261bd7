"""Distillation: the float network teaches by its distribution over classes.

Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.host import Executable
from kaldi_quant.train.hidden_features import HiddenFeatures

# So much memory goes to what a teacher says of held-out minibatches; about the others it is asked again.
_KEPT_BYTES = 1 << 28

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Taught:
    """What a teacher says of a minibatch.

    Args:
        loss: (), with gradients for the student.
        kl: KL(teacher || student), the mean over frames, in nats where the temperature is 1.
    """

    loss: Tensor
    kl: float


def check_weights(temperature: float, share: float, hard_weight: float, feature_weight: float) -> None:
    """Refuses impossible values; arguments are those of ``Distillation``.

    Raises:
        UsageError: there is one.
    """
    if not 0 < temperature < float("inf"):
        raise UsageError(f"--temperature {temperature:g}: expected a number above 0")
    if not 0 <= share <= 1:
        raise UsageError(f"--distillation {share:g}: expected a share from 0 to 1")
    for option, value in (("--hard-weight", hard_weight), ("--feature-weight", feature_weight)):
        if not 0 <= value < float("inf"):
            raise UsageError(f"{option} {value:g}: expected 0 or more")


@dataclass
class Distillation:
    """A teacher.

    Args:
        teacher: the float network; its parameters are not changed.
        temperature: divides both outputs before the softmax; the divergence is multiplied by its square, so that
            gradients keep their size.
        share: of the loss, from 0 to 1; the rest is LF-MMI's.
        hard_weight: sequences count as the power of their divergence with this exponent: at 0 all alike, above it those
            more on which the student falls furthest behind.
        features: hidden layers that are compared, too.
        feature_weight: of their error beside the divergence.

    Raises:
        UsageError: a value is impossible.
    """

    teacher: Executable
    temperature: float = 1.0
    share: float = 1.0
    hard_weight: float = 0.0
    features: HiddenFeatures | None = None
    feature_weight: float = 0.0

    def __post_init__(self) -> None:
        check_weights(self.temperature, self.share, self.hard_weight, self.feature_weight)

    @torch.no_grad()
    def target(self, *inputs: Any) -> Tensor:
        """The teacher's distribution over classes, as logarithms, (N, T, classes); inputs: as the teacher's."""
        teacher = self.teacher(*inputs)
        return functional.log_softmax(teacher / self.temperature, dim=-1)

    def __call__(self, student: Tensor, target: Tensor) -> Taught:
        """The loss of a student that has just computed a minibatch.

        Args:
            student: (N, T, pdfs), its output.
            target: (N, T, pdfs), as the teacher has it; where hidden layers are compared, computed after the student.
        """
        found = functional.log_softmax(student.to(target.dtype) / self.temperature, dim=-1)
        rows = functional.kl_div(found, target, reduction="none", log_target=True).sum(-1) * self.temperature**2
        kl = rows.mean(1)
        loss = kl.mean()
        if self.hard_weight:
            hardness = kl.detach().clamp_min(0) ** self.hard_weight
            loss = (kl * hardness).mean() / hardness.mean().clamp_min(torch.finfo(hardness.dtype).tiny)
        if self.features is not None and self.feature_weight:
            loss = loss + self.feature_weight * self.features.error()
        return Taught(loss, float(kl.mean().detach()))


def with_targets(
    distillation: Distillation | None, batches: Iterable[Batch], target: Callable[[Batch], Tensor]
) -> list[tuple[Batch, Tensor | None]]:
    """Minibatches that are computed again and again, each with what the teacher says of it, where that can be kept.

    Args:
        distillation: the teacher; None where there is none.
        batches: the minibatches.
        target: asks the teacher about one.
    """
    # What is compared of hidden layers is computed with the target.
    free = _KEPT_BYTES if distillation is not None and distillation.features is None else 0
    found: list[tuple[Batch, Tensor | None]] = []
    for batch in batches:
        kept = target(batch) if free > 0 else None
        free -= 0 if kept is None else kept.nbytes
        found.append((batch, kept))
    return found
