"""The numerator in few large operations per frame, for devices on which starting one costs more than its work.

Each state has the same number of arcs at every frame, most of them impossible ones, so that sums over a state's arcs
are sums over an axis, and sizes hardly depend on a minibatch's FSTs. Computed as in ``numerator``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.nnet3.chain.arc_layout import PaddedLayout, Places
from kaldi_quant.nnet3.chain.log_sum import log_sum


class PaddedTensors(NamedTuple):
    """The arcs. ``states`` is the number at any frame, ``entering`` and ``leaving`` that of a state's arcs.

    Args:
        source: (frames, entering, states) int32: where each arc that enters a state comes from.
        entering_element: (frames, entering, states) int32: which element of the output, (N, T, pdfs), it reads.
        entering_log_prob: (frames, entering, states) float64, -inf for no arc.
        target: (frames, leaving, states) int32: where each arc that leaves a state leads to.
        leaving_element, leaving_log_prob: as above.
        initial: (states,) float64, the log-probability of beginning in a state.
        final: (states,) float64, that of ending there.
        owner: (states,) int64: the FST to which a last state belongs.
    """

    source: Tensor
    entering_element: Tensor
    entering_log_prob: Tensor
    target: Tensor
    leaving_element: Tensor
    leaving_log_prob: Tensor
    initial: Tensor
    final: Tensor
    owner: Tensor


@dataclass(frozen=True)
class PaddedArcs:
    """The arcs of all FSTs.

    Args:
        tensors: what differs from minibatch to minibatch.
        num_fsts: how many FSTs.
        shape: N, T and pdfs of the output that they are for.
        weight: of the sequences.
    """

    tensors: PaddedTensors
    num_fsts: int
    shape: tuple[int, int, int]
    weight: float

    @classmethod
    def of_layout(cls, layout: PaddedLayout, device: torch.device) -> PaddedArcs:
        """Puts arcs in their places, on a device: less has to be brought there than is needed there."""

        def moved(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device)

        source, target, element, log_prob = map(moved, (layout.source, layout.target, layout.element, layout.log_prob))
        tensors = PaddedTensors(
            *_put(layout.entering, source, element, log_prob),
            *_put(layout.leaving, target, element, log_prob),
            *map(moved, (layout.initial, layout.final, layout.owner)),
        )
        return cls(tensors, layout.num_fsts, layout.shape, layout.weight)

    @property
    def fixed(self) -> tuple[object, ...]:
        """What minibatches must share, beside the shapes of tensors, so that the same is computed of them."""
        return self.num_fsts, self.shape, self.weight

    def to(self, device: torch.device) -> PaddedArcs:
        """The same on a device."""
        return replace(self, tensors=PaddedTensors(*(tensor.to(device) for tensor in self.tensors)))

    def sums(self, output: Tensor, with_derivative: bool) -> tuple[Tensor, Tensor | None]:
        """Sums over all paths.

        Args:
            output: (N, T, pdfs), log-likelihoods.
            with_derivative: whether the derivative is computed too.

        Returns:
            (FSTs,) float64, the log-probability of each FST, and the derivative of their sum, (N, T, pdfs) float64.
        """
        arcs, flat = self.tensors, output.reshape(-1)
        scores = _scores(flat, arcs.entering_element, arcs.entering_log_prob)
        all_alphas = scores.new_empty(len(scores) + 1, len(arcs.initial))
        alphas = all_alphas.unbind(0)
        alphas[0].copy_(arcs.initial)
        for t, (score, source) in enumerate(zip(scores.unbind(0), arcs.source.unbind(0), strict=True)):
            _step(alphas[t], source, score, alphas[t + 1])
        log_prob = log_sum(alphas[-1] + arcs.final, arcs.owner, self.num_fsts)
        if not with_derivative:
            return log_prob, None
        all_betas = torch.empty_like(all_alphas)
        betas = all_betas.unbind(0)
        torch.sub(arcs.final, log_prob.index_select(0, arcs.owner), out=betas[-1])
        backward = _scores(flat, arcs.leaving_element, arcs.leaving_log_prob).unbind(0)
        targets = arcs.target.unbind(0)
        for t in reversed(range(len(backward))):
            _step(betas[t + 1], targets[t], backward[t], betas[t])
        first = torch.arange(len(scores), device=output.device)[:, None, None] * len(arcs.initial)
        posterior = all_alphas.view(-1).index_select(0, (arcs.source + first).view(-1)).view_as(scores)
        posterior = posterior.add_(scores).add_(all_betas[1:, None]).exp_()
        occupation = scores.new_zeros(len(flat))
        return log_prob, occupation.index_add_(0, arcs.entering_element.view(-1), posterior.view(-1)).view_as(output)


def _put(places: Places, other: Tensor, element: Tensor, log_prob: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The other ends of arcs, what they read and their log-probabilities in their places.

    Args:
        places: of the arcs.
        other: (arcs,) int32, the state at the other end of each.
        element: (arcs,) int32.
        log_prob: (arcs,) float64.

    Returns:
        three tensors of the places' shape.
    """
    size, given = math.prod(places.shape), max(len(element), 1)
    place = torch.from_numpy(places.place).to(other.device).long()
    # Arcs that are none read what others read, lest they bring in a value that is no number, each something else: a GPU
    # adds to one place one after the other.
    read = torch.cat([element, element.new_zeros(given - len(element))]).repeat(-(-size // given))[:size]
    put = (
        other.new_zeros(size).index_copy_(0, place, other),
        read.index_copy_(0, place, element),
        log_prob.new_full((size,), -torch.inf).index_copy_(0, place, log_prob),
    )
    first, second, third = (values.view(places.shape) for values in put)
    return first, second, third


def _scores(output: Tensor, element: Tensor, log_prob: Tensor) -> Tensor:
    return output.index_select(0, element.view(-1)).double().view_as(log_prob).add_(log_prob)


def _step(before: Tensor, place: Tensor, score: Tensor, result: Tensor) -> None:
    """Writes into (states,) the logarithm of the sum over a state's arcs, whose values at their other end are given."""
    values = before.index_select(0, place.view(-1)).view_as(score).add_(score)
    while (half := len(values) // 2) > 1:
        values = torch.logaddexp(values[:half], values[half:])
    torch.logaddexp(values[0], values[1], out=result)
