"""The denominator's forward-backward, in probabilities that are scaled at each frame.

Source: ``src/chain/chain-denominator.cc``. The names are Kaldi's: alpha and beta, and with a prime what they become by
the leaky HMM, which lets every state go on from any other with a small probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph, DenominatorMatrices

#: Outputs are taken for no more and no less than this, so that their exponentials stay in range.
LIMIT = 30.0
# How far the occupation probabilities of all sequences may be from their number, which they sum up to: Kaldi's.
_TOLERANCE = 2.0


@dataclass
class Denominator:
    """The result.

    Args:
        log_prob: (N,) float64, of all sequences of pdfs.
        occupation: (N, T, pdfs), the derivative of ``log_prob``; None where it was not asked for.
        ok: False where rounding went too far for the derivative to be used.
    """

    log_prob: Tensor
    occupation: Tensor | None
    ok: bool


def denominator(graph: DenominatorGraph, output: Tensor, leaky: float, with_derivative: bool) -> Denominator:
    """Sums over all paths through the graph.

    Args:
        graph: the HMM.
        output: (N, T, pdfs) float32 or float64, log-likelihoods; beyond ±30 they count as ±30, and the derivative is
            that of the value at the limit, as in Kaldi.
        leaky: the leaky HMM's coefficient.
        with_derivative: whether the derivative is computed too.
    """
    matrices = graph.matrices(output.dtype, output.device)
    probs = output.detach().clamp(-LIMIT, LIMIT).exp_().permute(1, 2, 0).contiguous()
    frames, _, sequences = probs.shape
    initial_leak = matrices.initial * leaky
    alpha = matrices.initial.expand(-1, sequences)
    total = alpha.sum(0, keepdim=True)
    alpha = alpha + initial_leak * total
    totals = [total]
    arrivals = []
    for t in range(frames):
        # Dividing a frame's probabilities by the last sum keeps all numbers in range.
        probs[t] /= total
        arriving = matrices.arcs @ alpha
        alpha = matrices.pairs_by_state @ (arriving * probs[t].index_select(0, matrices.pair_pdf))
        total = alpha.sum(0, keepdim=True)
        alpha.addcmul_(initial_leak, total)
        totals.append(total)
        if with_derivative:
            arrivals.append(arriving)
    end = alpha.sum(0, keepdim=True)
    log_prob = torch.cat([*totals[:-1], end]).double().log().sum(0)
    if not with_derivative:
        return Denominator(log_prob, None, True)
    occupation = _backward(matrices, probs, arrivals, 1 / end, initial_leak)
    first_frame = occupation[:, 0].sum(dtype=torch.float64)
    # Written so that what is not a number counts as an error.
    ok = bool((first_frame - sequences).abs() <= _TOLERANCE)
    return Denominator(log_prob, occupation, ok)


def _backward(
    matrices: DenominatorMatrices, probs: Tensor, arrivals: list[Tensor], end: Tensor, initial_leak: Tensor
) -> Tensor:
    """The occupation probabilities: (N, T, pdfs).

    Args:
        matrices: the graph.
        probs: (T, pdfs, N), each frame divided by its scale.
        arrivals: at each frame the sum of a pair's arcs, without its pdf's probability: (pairs, N). It is emptied.
        end: (1, N), beta behind the last frame: the inverse of the total probability.
        initial_leak: (states, 1).
    """
    frames, pdfs, sequences = probs.shape
    occupation = probs.new_empty(sequences, frames, pdfs)
    beta = end.expand(len(initial_leak), sequences)
    beta = beta + initial_leak.T @ beta
    for t in reversed(range(frames)):
        leaving = beta.index_select(0, matrices.pair_state)
        leaving *= probs[t].index_select(0, matrices.pair_pdf)
        occupation[:, t] = (matrices.pairs_by_pdf @ arrivals.pop().mul_(leaving)).T
        beta = matrices.arcs_transposed @ leaving
        beta += initial_leak.T @ beta
    return occupation
