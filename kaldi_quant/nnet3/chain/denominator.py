"""The denominator's forward-backward, in probabilities that are scaled at each frame.

Nothing here waits for a GPU, so that it can be recorded (``recorder``).
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
        ok: () bool, False where rounding went too far for the derivative to be used.
    """

    log_prob: Tensor
    occupation: Tensor | None
    ok: Tensor


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
    all_probs = output.detach().clamp(-LIMIT, LIMIT).exp_().permute(1, 2, 0).contiguous()
    probs, sequences = all_probs.unbind(0), len(output)
    initial_leak = matrices.initial * leaky
    alpha = matrices.initial.expand(-1, sequences)
    all_totals = all_probs.new_empty(len(probs) + 1, 1, sequences)
    totals = all_totals.unbind(0)
    torch.sum(alpha, 0, keepdim=True, out=totals[0])
    alpha = alpha + initial_leak * totals[0]
    arrivals = []
    for t, prob in enumerate(probs):
        # Dividing a frame's probabilities by the last sum keeps all numbers in range.
        prob.div_(totals[t])
        arriving = matrices.arcs @ alpha
        alpha = matrices.pairs_by_state @ prob.index_select(0, matrices.pair_pdf).mul_(arriving)
        torch.sum(alpha, 0, keepdim=True, out=totals[t + 1])
        alpha.addcmul_(initial_leak, totals[t + 1])
        if with_derivative:
            arrivals.append(arriving)
    # Behind the last frame what has leaked is summed, too.
    end = torch.sum(alpha, 0, keepdim=True, out=totals[-1])
    log_prob = all_totals.view(-1, sequences).double().log().sum(0)
    if not with_derivative:
        return Denominator(log_prob, None, torch.ones((), dtype=torch.bool, device=output.device))
    occupation = _backward(matrices, probs, arrivals, 1 / end, initial_leak)
    first_frame = occupation[:, 0].sum(dtype=torch.float64)
    # Written so that what is not a number counts as an error.
    return Denominator(log_prob, occupation, (first_frame - sequences).abs() <= _TOLERANCE)


def _backward(
    matrices: DenominatorMatrices, probs: tuple[Tensor, ...], arrivals: list[Tensor], end: Tensor, initial_leak: Tensor
) -> Tensor:
    """The occupation probabilities: (N, T, pdfs).

    Args:
        matrices: the graph.
        probs: of each frame (pdfs, N), divided by its scale.
        arrivals: at each frame the sum of a pair's arcs, without its pdf's probability: (pairs, N). It is emptied.
        end: (1, N), beta behind the last frame: the inverse of the total probability.
        initial_leak: (states, 1).
    """
    frames, (pdfs, sequences) = len(probs), probs[0].shape
    occupation = probs[0].new_empty(sequences, frames, pdfs)
    leak = initial_leak.T
    beta = end.expand(len(initial_leak), sequences)
    beta = beta + leak @ beta
    for t in reversed(range(frames)):
        leaving = beta.index_select(0, matrices.pair_state)
        leaving.mul_(probs[t].index_select(0, matrices.pair_pdf))
        occupation[:, t] = (matrices.pairs_by_pdf @ arrivals.pop().mul_(leaving)).T
        beta = matrices.arcs_transposed @ leaving
        beta.add_(leak @ beta)
    return occupation
