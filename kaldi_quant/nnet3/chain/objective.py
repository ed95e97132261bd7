"""The chain objective: how much more probable the permitted sequences of pdfs are than all sequences.

One difference to Kaldi: it applies twice the penalty for values out of range to every other minibatch, at random; here
it is applied once to each.
Source: ``ComputeChainObjfAndDeriv`` in ``src/chain/chain-training.cc`` and ``NnetChainTrainer::ProcessOutputs`` in
``src/nnet3/nnet-chain-training.cc``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.denominator import LIMIT, denominator
from kaldi_quant.nnet3.chain.numerator import NumeratorArcs, numerator
from kaldi_quant.nnet3.chain.options import ChainOptions

#: What a frame counts where the objective is no finite number: Kaldi's.
FAILED_OBJECTIVE = -10.0


@dataclass
class ChainObjective:
    """The objective of a minibatch: sums over its frames, to be divided by ``weight`` for a mean.

    Args:
        loss: (), to be minimised: minus the sum of ``objf``, ``l2_term``, the penalty for values out of range, and
            ``xent_regularize`` times ``xent_objf``. Its gradients are minus Kaldi's derivatives.
        objf: the numerator's log-probability minus the denominator's.
        l2_term: of the output, 0 or less.
        xent_objf: the expected log-probability of the cross-entropy output; None where there is none.
        weight: the number of frames, times the supervision's weight.
        ok: False where the objective was no finite number: it is then -10 per frame, and all gradients are zero.
    """

    loss: Tensor
    objf: float
    l2_term: float
    xent_objf: float | None
    weight: float
    ok: bool


def chain_objective(
    graph: DenominatorGraph,
    arcs: NumeratorArcs,
    output: Tensor,
    xent_output: Tensor | None = None,
    options: ChainOptions | None = None,
    deriv_weights: Tensor | None = None,
) -> ChainObjective:
    """Computes the objective, and its gradients where they are needed.

    Args:
        graph: the denominator.
        arcs: the numerator, on the output's device.
        output: (N, T, pdfs): what the network says of each frame. Half precision is computed in single.
        xent_output: (N, T, pdfs), log-probabilities of the cross-entropy branch. The numerator's occupation
            probabilities are its targets; they are taken for constants.
        options: weights of the parts; Kaldi's defaults if None.
        deriv_weights: (N, T), which scale the gradients of each frame, and not the objective, if options say so.

    Raises:
        DataError: the shapes do not fit each other.

    Example:
        >>> result = chain_objective(graph, NumeratorArcs.of(supervision), network_output)
        >>> (result.loss / result.weight).backward()
    """
    options = options or ChainOptions()
    output, xent_output = _at_least_single(output), None if xent_output is None else _at_least_single(xent_output)
    if output.ndim != 3 or output.shape[2] != graph.num_pdfs:
        raise DataError(f"the network's output is {tuple(output.shape)}, and the denominator has {graph.num_pdfs} pdfs")
    for what, tensor, shape in (("output", output, arcs.shape), ("cross-entropy output", xent_output, arcs.shape)):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise DataError(f"the {what} is {tuple(tensor.shape)}, and the supervision is for one of {shape}")
    if deriv_weights is not None and deriv_weights.shape != output.shape[:2]:
        raise DataError(
            f"{tuple(deriv_weights.shape)} weights of derivatives do not fit {tuple(output.shape[:2])} frames"
        )
    if not options.apply_deriv_weights:
        deriv_weights = None
    differentiate = torch.is_grad_enabled() and (
        output.requires_grad or (xent_output is not None and xent_output.requires_grad)
    )
    terms = _Terms()
    loss = _ChainFunction.apply(output, xent_output, graph, arcs, options, deriv_weights, differentiate, terms)
    weight = arcs.weight * output.shape[0] * output.shape[1]
    return ChainObjective(loss, terms.objf, terms.l2_term, terms.xent_objf, weight, terms.ok)


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@dataclass
class _Terms:
    """The parts of the objective, filled in by the forward pass."""

    objf: float = 0.0
    l2_term: float = 0.0
    xent_objf: float | None = None
    penalty: float = 0.0
    ok: bool = True


class _ChainFunction(torch.autograd.Function):
    """The gradients come out of the forward pass: forward-backward gives both at once."""

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        xent_output: Tensor | None,
        graph: DenominatorGraph,
        arcs: NumeratorArcs,
        options: ChainOptions,
        deriv_weights: Tensor | None,
        differentiate: bool,
        terms: _Terms,
    ) -> Tensor:
        with_xent = xent_output is not None
        den = denominator(graph, output, options.leaky_hmm_coefficient, differentiate)
        num = numerator(arcs, output, differentiate or with_xent)
        terms.objf = arcs.weight * float(num.log_prob.sum() - den.log_prob.sum())
        terms.ok = math.isfinite(terms.objf) and den.ok
        posterior = num.occupation
        if xent_output is not None and posterior is not None:
            terms.xent_objf = arcs.weight * _inner_product(xent_output.detach(), posterior)
            terms.ok = terms.ok and math.isfinite(terms.xent_objf)
        derivative = den.occupation
        if derivative is not None and posterior is not None:
            derivative = torch.sub(posterior, derivative, out=derivative).mul_(arcs.weight)
        _regularize(output.detach(), options, arcs.weight, terms, derivative)
        if not terms.ok:
            frames = output.shape[0] * output.shape[1]
            terms.objf, terms.l2_term, terms.penalty = FAILED_OBJECTIVE * arcs.weight * frames, 0.0, 0.0
            terms.xent_objf = 0.0 if with_xent else None
        if differentiate:
            _save(ctx, derivative, posterior, arcs.weight * options.xent_regularize, deriv_weights, terms.ok)
        xent_term = options.xent_regularize * (terms.xent_objf or 0.0)
        return output.new_tensor(-(terms.objf + terms.l2_term + terms.penalty + xent_term))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        derivative, posterior = ctx.saved_tensors
        (grad,) = grad_outputs
        grads = [
            values * -grad if needed else None
            for values, needed in zip((derivative, posterior), ctx.needs_input_grad[:2], strict=True)
        ]
        return (*grads, None, None, None, None, None, None)


def _save(
    ctx: Any, derivative: Tensor | None, posterior: Tensor | None, xent_scale: float, weights: Tensor | None, ok: bool
) -> None:
    """Keeps the derivatives of the objective with respect to both outputs for the backward pass."""
    assert derivative is not None and posterior is not None
    posterior = posterior.mul_(xent_scale)
    for values in (derivative, posterior):
        if not ok:
            values.zero_()
        elif weights is not None:
            values.mul_(weights.to(values)[..., None])
    ctx.save_for_backward(derivative, posterior)


def _regularize(output: Tensor, options: ChainOptions, weight: float, terms: _Terms, derivative: Tensor | None) -> None:
    """Adds the penalties on large outputs to the terms and to the derivative.

    As in Kaldi the supervision's weight scales the l2 term, and not the penalty for values out of range.
    """
    if options.l2_regularize:
        scale = weight * options.l2_regularize
        terms.l2_term = -0.5 * scale * _inner_product(output, output)
        if derivative is not None:
            derivative.sub_(output, alpha=scale)
    if options.out_of_range_regularize:
        beyond = output - output.clamp(-LIMIT, LIMIT)
        terms.penalty = -0.5 * options.out_of_range_regularize * _inner_product(beyond, beyond)
        if derivative is not None:
            derivative.sub_(beyond, alpha=options.out_of_range_regularize)


def _inner_product(a: Tensor, b: Tensor) -> float:
    """The sum of all products, a, b: (N, T, pdfs); over the frames in double precision."""
    return float((a * b).sum(-1).sum(dtype=torch.float64))
