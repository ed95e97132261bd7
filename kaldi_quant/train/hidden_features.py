"""What hidden layers of a network in training are, beside those of the float network: a part of what it learns."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.graph import Node
from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.taps import SeenTap

#: How far a student's values are from the teacher's, (): both (N, ..., channels), gradients go to the student's alone.
FeatureLoss = Callable[[Tensor, Tensor], Tensor]


def share_of_variance(student: Tensor, teacher: Tensor) -> Tensor:
    """The squared error as a share of the teacher's variance over all but channels, the mean over these: ()."""
    others = tuple(range(teacher.dim() - 1))
    variance = teacher.var(dim=others).mean().clamp_min(torch.finfo(teacher.dtype).tiny)
    return (student - teacher).square().mean() / variance


@dataclass(frozen=True)
class ErrorAndAngle:
    """alpha MSE + (1 - alpha) (1 - cosine), the cosine of all that belongs to one example of the minibatch.

    Args:
        alpha: the share of the squared error, from 0 to 1.

    Raises:
        UsageError: it is not.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha {self.alpha:g}: expected a share from 0 to 1")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """As of ``FeatureLoss``; the first axis holds examples."""
        cosine = functional.cosine_similarity(student.flatten(1), teacher.flatten(1), dim=1).mean()
        return self.alpha * functional.mse_loss(student, teacher) + (1 - self.alpha) * (1 - cosine)


class HiddenFeatures:
    """The results of hidden nodes in two networks of the same graph; these remember them from now on.

    Args:
        student: the network in training, whose nodes lie on grids.
        teacher: the float one.
        nodes: names, in both.
        loss: how far a node's values in one are from those in the other.

    Raises:
        UsageError: there is no node.
    """

    def __init__(
        self, student: Executable, teacher: Executable, nodes: Iterable[str], loss: FeatureLoss = share_of_variance
    ) -> None:
        self.nodes, self.loss = list(nodes), loss
        self._seen: dict[str, dict[str, Tensor]] = {"student": {}, "teacher": {}}
        if not self.nodes:
            raise UsageError("--feature-weight: no hidden layer lies on a static grid, so there is nothing to compare")
        for node in self.nodes:
            self._watch(student, node, self._seen["student"])
            self._watch(teacher, node, self._seen["teacher"])

    def _watch(self, model: Executable, node: str, seen: dict[str, Tensor]) -> None:
        def see(x: Tensor) -> None:
            # That of the last run: what an evaluation has left goes.
            seen[node] = x

        model.taps[node] = SeenTap(model.taps.get(node), see)

    def error(self) -> Tensor:
        """The loss of what both have computed last, the mean over nodes: ()."""
        student, teacher = self._seen["student"], self._seen["teacher"]
        targets = {node: teacher[node].detach() for node in self.nodes}
        losses = [self.loss(student[node].to(target.dtype), target) for node, target in targets.items()]
        student.clear()
        teacher.clear()
        return torch.stack(losses).mean()


def matching_nodes(nodes: Mapping[str, Node], patterns: Iterable[str]) -> list[str]:
    """The hidden nodes that patterns name, in the order of computation.

    Args:
        nodes: of the graph.
        patterns: names, or patterns of names (shell wildcards).

    Raises:
        UsageError: a pattern names none.
    """
    hidden = [name for name, node in nodes.items() if node.op not in ("input", "output")]
    found: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(hidden, pattern)
        if not matched:
            raise UsageError(f"features: {pattern!r} is no hidden node of the network; these are {', '.join(hidden)}")
        found.update(matched)
    return [name for name in hidden if name in found]


@dataclass(frozen=True)
class HiddenOptions:
    """How much a network learns from hidden layers, beside its output.

    Args:
        nodes: names of nodes, or patterns of names (shell wildcards): what they compute is compared.
        share: of the loss that they have, above 0, up to 1; the rest is the output's.
        loss: how far values are from the teacher's.

    Raises:
        UsageError: there is no such share, or the names are no list.
    """

    nodes: Sequence[str]
    share: float = 0.5
    loss: FeatureLoss = field(default_factory=ErrorAndAngle)

    def __post_init__(self) -> None:
        if isinstance(self.nodes, str):
            raise UsageError(f"features: expected a list of names of nodes, found {self.nodes!r}")
        if not 0 < self.share <= 1:
            raise UsageError(f"feature_share {self.share:g}: expected a share above 0, up to 1")

    def as_dict(self) -> dict[str, Any]:
        """All values, for what tells trainings apart."""
        return {
            "nodes": list(self.nodes),
            "share": self.share,
            "loss": getattr(self.loss, "__qualname__", repr(self.loss)),
        }


class HiddenTeacher:
    """A float network whose hidden layers a network of the same graph learns.

    Args:
        student: in training.
        teacher: in float; it computes each minibatch after or before the student.
        nodes: of the graph.
        options: which of them, and how much.

    Raises:
        UsageError: the options name no node.
    """

    def __init__(
        self, student: Executable, teacher: Executable, nodes: Mapping[str, Node], options: HiddenOptions
    ) -> None:
        self.teacher, self.share = teacher, options.share
        self._features = HiddenFeatures(student, teacher, matching_nodes(nodes, options.nodes), options.loss)

    def mixed(self, loss: Tensor) -> Tensor:
        """The loss, (), that both parts make of a minibatch that both networks have computed; loss: the output's."""
        return (1 - self.share) * loss + self.share * self._features.error()
