"""All that is computed of a minibatch's objective, as a function of tensors that waits for nothing.

On a GPU the numerator is computed beside the denominator where both are recorded.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.denominator import LIMIT, denominator
from kaldi_quant.nnet3.chain.numerator import NumeratorArcs, numerator
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.chain.padded_numerator import PaddedArcs
from kaldi_quant.nnet3.chain.recorder import side_by_side


class Parts(NamedTuple):
    """The result.

    Args:
        terms: (5,) float64: objective, that of the cross-entropy output, l2 term, penalty for values out of range (0
            for those that are not asked for), and 1 where the denominator could be computed, else 0.
        derivative: (N, T, pdfs), of the objective with respect to the output; None where it was not asked for.
        xent_derivative: that with respect to the cross-entropy output.
    """

    terms: Tensor
    derivative: Tensor | None
    xent_derivative: Tensor | None


def forward_backward(
    graph: DenominatorGraph,
    arcs: NumeratorArcs | PaddedArcs,
    output: Tensor,
    xent_output: Tensor | None,
    options: ChainOptions,
    deriv_weights: Tensor | None,
    differentiate: bool,
) -> Parts:
    """Computes a minibatch; arguments as those of ``chain_objective``, whose shapes fit each other.

    Args:
        graph: the denominator.
        arcs: the numerator.
        output: (N, T, pdfs) float32 or float64.
        xent_output: likewise, or None.
        options: weights of the parts.
        deriv_weights: (N, T), or None.
        differentiate: whether derivatives are computed.
    """
    output = output.detach()
    num, den = side_by_side(
        output.device,
        lambda: numerator(arcs, output, differentiate or xent_output is not None),
        lambda: denominator(graph, output, options.leaky_hmm_coefficient, differentiate),
    )
    posterior, derivative = num.occupation, den.occupation
    zero = num.log_prob.new_zeros(())
    objf = (num.log_prob.sum() - den.log_prob.sum()) * arcs.weight
    xent_objf = l2_term = penalty = zero
    if xent_output is not None and posterior is not None:
        xent_objf = arcs.weight * _inner_product(xent_output.detach(), posterior)
    if derivative is not None and posterior is not None:
        derivative = torch.sub(posterior, derivative, out=derivative).mul_(arcs.weight)
    # As in Kaldi the supervision's weight scales the l2 term, and not the penalty for values out of range.
    if options.l2_regularize:
        scale = arcs.weight * options.l2_regularize
        l2_term = -0.5 * scale * _inner_product(output, output)
        if derivative is not None:
            derivative.sub_(output, alpha=scale)
    if options.out_of_range_regularize:
        beyond = output - output.clamp(-LIMIT, LIMIT)
        penalty = -0.5 * options.out_of_range_regularize * _inner_product(beyond, beyond)
        if derivative is not None:
            derivative.sub_(beyond, alpha=options.out_of_range_regularize)
    terms = torch.stack([objf, xent_objf, l2_term, penalty, den.ok.to(objf.dtype)])
    if not differentiate:
        return Parts(terms, None, None)
    assert derivative is not None and posterior is not None
    xent_derivative = posterior.mul_(arcs.weight * options.xent_regularize)
    if deriv_weights is not None:
        for values in (derivative, xent_derivative):
            values.mul_(deriv_weights.to(values)[..., None])
    return Parts(terms, derivative, xent_derivative)


def _inner_product(a: Tensor, b: Tensor) -> Tensor:
    """The sum of all products, a, b: (N, T, pdfs); over the frames in double precision."""
    return (a * b).sum(-1).sum(dtype=torch.float64)
