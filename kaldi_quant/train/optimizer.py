"""The step that changes parameters: SGD or Adam, with the limits that Kaldi's components have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.train.orthonormal import EVERY, constrain_orthonormal
from kaldi_quant.train.parameters import TrainedComponent

OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class OptimizerOptions:
    """How parameters are changed.

    Args:
        name: adam, whose steps are as large as the learning rate, whatever the gradient; or sgd, whose steps are the
            learning rate times the gradient summed over the minibatch, as Kaldi's are.
        lr_initial: the learning rate of the first iteration.
        lr_final: that of the last; between them it falls exponentially, as Kaldi's.
        momentum: of sgd, the gradient being scaled by 1 - momentum, as in Kaldi.
        clip_norm: the largest norm of the gradient of the mean over frames, all parameters together; 0 for no limit.
        max_param_change: the largest norm of a step, all parameters together; 0 for no limit, also within components.
        warm_up: over so many steps at the beginning the learning rate grows in proportion to them. Adam's first steps,
            which know little of the gradient, would otherwise be as large as all others.
        l2_factor: multiplies the components' own l2-regularize.

    Raises:
        UsageError: a value is impossible.
    """

    name: str = "adam"
    lr_initial: float = 1e-4
    lr_final: float = 1e-5
    momentum: float = 0.0
    clip_norm: float = 5.0
    max_param_change: float = 2.0
    warm_up: int = 0
    l2_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise UsageError(f"--optimizer {self.name!r} is not one of {', '.join(OPTIMIZERS)}")
        if not 0 < self.lr_final <= self.lr_initial < float("inf"):
            raise UsageError(
                f"--lr-initial {self.lr_initial:g} and --lr-final {self.lr_final:g}: expected 0 < final <= initial"
            )
        if not 0 <= self.momentum < 1:
            raise UsageError(f"--momentum {self.momentum:g}: expected a number from 0 to below 1")
        if self.momentum and self.name != "sgd":
            raise UsageError(f"--momentum {self.momentum:g} has an effect only with --optimizer sgd")
        for option, limit in (("--clip-norm", self.clip_norm), ("--max-param-change", self.max_param_change)):
            if not 0 <= limit < float("inf"):
                raise UsageError(f"{option} {limit:g}: expected a number above 0, or 0 for no limit")
        if self.warm_up < 0:
            raise UsageError(f"--warm-up {self.warm_up}: expected a number of steps")

    def learning_rate(self, iteration: int, iterations: int) -> float:
        """Kaldi's schedule: from ``lr_initial`` at the first iteration, exponentially, to ``lr_final`` at the last."""
        if iteration + 1 >= iterations:
            return self.lr_final if iterations > 1 else self.lr_initial
        return float(self.lr_initial * (self.lr_final / self.lr_initial) ** (iteration / iterations))


class Stepper:
    """Changes the parameters of components.

    Args:
        components: that are trained.
        options: how.
    """

    def __init__(self, components: Sequence[TrainedComponent], options: OptimizerOptions) -> None:
        self.components = list(components)
        self.options = options
        self.steps = 0
        groups = [
            {"params": list(part.parameters.values()), "lr": options.lr_initial * part.learning_rate_factor}
            for part in self.components
        ]
        self.optimizer: torch.optim.Optimizer
        if options.name == "adam":
            self.optimizer = torch.optim.Adam(groups, lr=options.lr_initial)
        else:
            self.optimizer = torch.optim.SGD(groups, lr=options.lr_initial, momentum=options.momentum)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What it changes."""
        return [parameter for part in self.components for parameter in part.parameters.values()]

    def zero_grad(self) -> None:
        """Forgets gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self, learning_rate: float, weight: float, sequences: int) -> bool:
        """Changes the parameters by the gradients that are there.

        Args:
            learning_rate: of this iteration, the warm-up left out.
            weight: the frames of the minibatch, over which the loss was averaged.
            sequences: of the minibatch: how often Kaldi counts the components' l2-regularize.

        Returns:
            False where the gradients are not finite: nothing was changed.
        """
        trained = [parameter for parameter in self.parameters if parameter.grad is not None]
        limit = self.options.clip_norm or float("inf")
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(trained, limit)):
            return False
        self._add_l2(sequences / weight)
        if self.steps < self.options.warm_up:
            learning_rate *= (self.steps + 1) / self.options.warm_up
        # Kaldi's gradients are sums over frames, and what momentum adds up of them is scaled by 1 - momentum.
        summed = weight * (1 - self.options.momentum) if self.options.name == "sgd" else 1.0
        for part, group in zip(self.components, self.optimizer.param_groups, strict=True):
            group["lr"] = learning_rate * part.learning_rate_factor * summed
        limited = bool(self.options.max_param_change)
        before = [parameter.detach().clone() for parameter in self.parameters] if limited else []
        self.optimizer.step()
        if limited:
            self._limit(before)
        self.steps += 1
        if self.steps % EVERY == 0:
            self._constrain()
        return True

    def _add_l2(self, per_frame: float) -> None:
        for part in self.components:
            scale = 2 * part.l2_regularize * self.options.l2_factor * per_frame
            if scale:
                for parameter in part.parameters.values():
                    if parameter.grad is not None:
                        parameter.grad.add_(parameter, alpha=scale)

    def _limit(self, before: list[Tensor]) -> None:
        """Scales the step down where it is larger than a component's, or the network's, max-change allows.

        Source: ``UpdateNnetWithMaxChange`` in ``src/nnet3/nnet-utils.cc``.
        """
        left = iter(before)
        changes = [[(p, next(left)) for p in part.parameters.values()] for part in self.components]
        # All at once: a GPU is waited for but once.
        squares = torch.stack(
            [torch.stack([(new - old).square().sum() for new, old in pairs]).sum() for pairs in changes]
        )
        scales, total = [], 0.0
        for part, square in zip(self.components, squares.tolist(), strict=True):
            norm = square**0.5
            scale = min(1.0, part.max_change / norm) if part.max_change and norm else 1.0
            scales.append(scale)
            total += (norm * scale) ** 2
        overall = min(1.0, self.options.max_param_change / total**0.5) if total else 1.0
        for scale, pairs in zip(scales, changes, strict=True):
            if scale * overall < 1:
                for new, old in pairs:
                    new.copy_(old + (new - old) * (scale * overall))

    def _constrain(self) -> None:
        for part in self.components:
            if part.orthonormal_constraint:
                constrain_orthonormal(part.parameters["weight"], part.orthonormal_constraint)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on where a checkpoint was made."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
