"""The numerator: the paths that a supervision permits, of all sequences of a minibatch at once.

Computed in logarithms, in double precision.
Source: ``src/chain/chain-numerator.cc`` for FSTs of frames, ``chain-generic-numerator.cc`` for end-to-end ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.nnet3.chain.arc_layout import ArcLayout
from kaldi_quant.nnet3.chain.log_sum import log_sum
from kaldi_quant.nnet3.chain.padded_numerator import PaddedArcs


@dataclass(frozen=True)
class NumeratorArcs:
    """The arcs of all FSTs, frame by frame: as ``ArcLayout``, with tensors in the place of arrays."""

    num_arcs: list[int]
    num_states: list[int]
    source: Tensor
    target: Tensor
    element: Tensor
    log_prob: Tensor
    initial: Tensor
    final: Tensor
    owner: Tensor
    num_fsts: int
    shape: tuple[int, int, int]
    weight: float

    @classmethod
    def of(cls, supervision: Supervision) -> NumeratorArcs:
        """Lays out the FSTs of a supervision."""
        return cls.of_layout(ArcLayout.of(supervision))

    @classmethod
    def of_layout(cls, layout: ArcLayout) -> NumeratorArcs:
        """Tensors that share the memory of arrays."""
        return cls(**{name: _tensor(value) for name, value in vars(layout).items()})

    def to(self, device: torch.device) -> NumeratorArcs | PaddedArcs:
        """What is computed with on a device."""
        return self if device.type == "cpu" else self.padded(device)

    def padded(self, device: torch.device) -> PaddedArcs:
        """The same arcs on a device, with room for an equal number at every state."""
        arrays: dict[str, Any] = {
            name: value.numpy() if isinstance(value, Tensor) else value for name, value in vars(self).items()
        }
        return PaddedArcs.of_layout(ArcLayout(**arrays).padded(), device)

    def sums(self, output: Tensor, with_derivative: bool) -> tuple[Tensor, Tensor | None]:
        """Sums over all paths.

        Args:
            output: (N, T, pdfs), log-likelihoods.
            with_derivative: whether the derivative is computed too.

        Returns:
            (FSTs,) float64, the log-probability of each FST, and the derivative of their sum, (N, T, pdfs) float64.
        """
        scores = output.reshape(-1).index_select(0, self.element).double() + self.log_prob
        sources, targets = self.source.split(self.num_arcs), self.target.split(self.num_arcs)
        by_frame = scores.split(self.num_arcs)
        alphas = [self.initial]
        for t, score in enumerate(by_frame):
            values = alphas[-1].index_select(0, sources[t]) + score
            alphas.append(log_sum(values, targets[t], self.num_states[t + 1]))
        log_prob = log_sum(alphas[-1] + self.final, self.owner, self.num_fsts)
        if not with_derivative:
            return log_prob, None
        beta = self.final - log_prob.index_select(0, self.owner)
        posteriors = [scores.new_zeros(0)] * len(by_frame)
        for t in reversed(range(len(by_frame))):
            values = beta.index_select(0, targets[t]) + by_frame[t]
            posteriors[t] = (alphas[t].index_select(0, sources[t]) + values).exp_()
            beta = log_sum(values, sources[t], self.num_states[t])
        occupation = scores.new_zeros(output.numel()).index_add_(0, self.element, torch.cat(posteriors))
        return log_prob, occupation.view(output.shape)


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@dataclass
class Numerator:
    """The result.

    Args:
        log_prob: (FSTs,) float64, of the permitted sequences of pdfs.
        occupation: (N, T, pdfs) like the output, the derivative of the sum of ``log_prob``; None where it was not asked
            for.
    """

    log_prob: Tensor
    occupation: Tensor | None


def numerator(arcs: NumeratorArcs | PaddedArcs, output: Tensor, with_derivative: bool) -> Numerator:
    """Sums over all paths that the supervision permits.

    Args:
        arcs: of the supervision.
        output: (N, T, pdfs), log-likelihoods.
        with_derivative: whether the derivative is computed too.

    Raises:
        DataError: the output is not of the supervision's shape.
    """
    if tuple(output.shape) != arcs.shape:
        raise DataError(f"the supervision is for an output of {arcs.shape}, and the network's is {tuple(output.shape)}")
    log_prob, occupation = arcs.sums(output.detach(), with_derivative)
    return Numerator(log_prob, None if occupation is None else occupation.to(output.dtype))
