"""The step that changes parameters, with the limits that Kaldi's components have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.train.optimizer_kinds import OPTIMIZERS, OptimizerKind
from kaldi_quant.train.orthonormal import EVERY, constrain_orthonormal
from kaldi_quant.train.own_options import check_options
from kaldi_quant.train.parameters import TrainedComponent


@dataclass(frozen=True)
class OptimizerOptions:
    """How parameters are changed.

    Args:
        name: adam, whose steps are as large as the learning rate, whatever the gradient; or sgd, whose steps are the
            learning rate times the gradient summed over the minibatch, as Kaldi's are.
        momentum: of sgd, the gradient being scaled by 1 - momentum, as in Kaldi.
        clip_norm: the largest norm of the gradient of the mean over frames, all parameters together; 0 for no limit.
        max_param_change: the largest norm of a step, all parameters together; 0 for no limit, also within components.
        warm_up: over so many steps at the beginning the learning rate grows in proportion to them. Adam's first steps,
            which know little of the gradient, would otherwise be as large as all others.
        l2_factor: multiplies the components' own l2-regularize.
        amsgrad: of adam, whose steps are then divided by the largest mean square of the gradient that there has been.
        weight_decay: of adam; each step takes this times the learning rate of each parameter away, whatever its
            component's ``learning-rate-factor``, and apart from the gradient.
        l2_penalty: this times each parameter is added to the gradient, as torch's Adam and SGD call weight decay.
        max_weight: after each step no value of a parameter that decays is further from 0; 0 for no limit.

    Raises:
        UsageError: a value is impossible.
    """

    name: str = "adam"
    _: KW_ONLY
    momentum: float = 0.0
    clip_norm: float = 5.0
    max_param_change: float = 2.0
    warm_up: int = 0
    l2_factor: float = 1.0
    amsgrad: bool = False
    weight_decay: float = 0.0
    l2_penalty: float = 0.0
    max_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise UsageError(f"--momentum {self.momentum:g}: expected a number from 0 to below 1")
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"--weight-decay {self.weight_decay:g}: expected 0 or more")
        if not 0 <= self.l2_penalty < float("inf"):
            raise UsageError(f"an L2 penalty of {self.l2_penalty:g}: expected 0 or more")
        check_options("--optimizer", OPTIMIZERS, self.name, self._of_some(), lambda kind: kind.own_options)
        if not 0 <= self.max_weight < float("inf"):
            raise UsageError(f"a largest weight of {self.max_weight:g}: expected a number above 0, or 0 for no limit")
        for option, limit in (("--clip-norm", self.clip_norm), ("--max-param-change", self.max_param_change)):
            if not 0 <= limit < float("inf"):
                raise UsageError(f"{option} {limit:g}: expected a number above 0, or 0 for no limit")
        if self.warm_up < 0:
            raise UsageError(f"--warm-up {self.warm_up}: expected a number of steps")

    @property
    def kind(self) -> type[OptimizerKind]:
        """The optimizer."""
        return OPTIMIZERS[self.name]

    def _of_some(self) -> dict[str, str]:
        """The options that not all optimizers have, where they are set, as the command line has them."""
        known = {option for name in OPTIMIZERS for option in OPTIMIZERS[name].own_options}
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name in known}
        shown = {name: "" if isinstance(value, bool) else f" {value:g}" for name, value in values.items()}
        return {name: f"--{name.replace('_', '-')}{shown[name]}" for name, value in values.items() if value}


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
        # Each step sets the learning rate.
        groups = [
            {"params": list(part.parameters.values()), "lr": 0.0, "weight_decay": self._decay(part)}
            for part in self.components
        ]
        own = {name: getattr(options, name) for name in options.kind.own_options}
        self.optimizer = options.kind.build(groups, own)

    def _decay(self, part: TrainedComponent) -> float:
        """The weight decay that torch multiplies by the component's learning rate."""
        factor = part.learning_rate_factor
        return self.options.weight_decay / factor if part.decays and factor else 0.0

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
        summed = weight * (1 - self.options.momentum) if self.options.kind.sums_gradients else 1.0
        for part, group in zip(self.components, self.optimizer.param_groups, strict=True):
            group["lr"] = learning_rate * part.learning_rate_factor * summed
        limited = bool(self.options.max_param_change)
        before = [parameter.detach().clone() for parameter in self.parameters] if limited else []
        self.optimizer.step()
        if limited:
            self._limit(before)
        if self.options.max_weight:
            self._clip_weights()
        self.steps += 1
        if self.steps % EVERY == 0:
            self._constrain()
        return True

    def _add_l2(self, per_frame: float) -> None:
        for part in self.components:
            scale = 2 * part.l2_regularize * self.options.l2_factor * per_frame
            scale += self.options.l2_penalty if part.decays else 0.0
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

    def _clip_weights(self) -> None:
        for part in self.components:
            if part.decays:
                for parameter in part.parameters.values():
                    parameter.clamp_(-self.options.max_weight, self.options.max_weight)

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
