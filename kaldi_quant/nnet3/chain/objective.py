"""The chain objective: how much more probable the permitted sequences of pdfs are than all sequences.

One difference to Kaldi: it applies twice the penalty for values out of range to every other minibatch, at random; here
it is applied once to each.
Source: ``ComputeChainObjfAndDeriv`` in ``src/chain/chain-training.cc`` and ``NnetChainTrainer::ProcessOutputs`` in
``src/nnet3/nnet-chain-training.cc``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.forward_backward import Parts, forward_backward
from kaldi_quant.nnet3.chain.numerator import NumeratorArcs
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.chain.padded_numerator import PaddedArcs, PaddedTensors

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
    arcs: NumeratorArcs | PaddedArcs,
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
    parts = _compute(graph, arcs, output, xent_output, options, deriv_weights, differentiate)
    weight = arcs.weight * output.shape[0] * output.shape[1]
    terms = _Terms.of(parts, weight, xent_output is not None)
    loss = _ChainFunction.apply(output, xent_output, parts, terms, options.xent_regularize)
    return ChainObjective(loss, terms.objf, terms.l2_term, terms.xent_objf, weight, terms.ok)


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@dataclass(frozen=True)
class _Terms:
    """The parts of the objective as numbers: the only ones for which a GPU is waited for."""

    objf: float
    l2_term: float
    xent_objf: float | None
    penalty: float
    ok: bool

    @classmethod
    def of(cls, parts: Parts, weight: float, with_xent: bool) -> _Terms:
        objf, xent_objf, l2_term, penalty, ok = parts.terms.tolist()
        if ok and math.isfinite(objf) and math.isfinite(xent_objf):
            return cls(objf, l2_term, xent_objf if with_xent else None, penalty, True)
        return cls(FAILED_OBJECTIVE * weight, 0.0, 0.0 if with_xent else None, 0.0, False)


@torch.no_grad()
def _compute(
    graph: DenominatorGraph,
    arcs: NumeratorArcs | PaddedArcs,
    output: Tensor,
    xent_output: Tensor | None,
    options: ChainOptions,
    deriv_weights: Tensor | None,
    differentiate: bool,
) -> Parts:
    """On a GPU work of a shape that was there before is replayed."""
    if not isinstance(arcs, PaddedArcs):
        return forward_backward(graph, arcs, output, xent_output, options, deriv_weights, differentiate)

    def work(inputs: Sequence[Any]) -> Parts:
        values, xent, weights, *tensors = inputs
        moved = replace(arcs, tensors=PaddedTensors(*tensors))
        return forward_backward(graph, moved, values, xent, options, weights, differentiate)

    inputs = [output, xent_output, deriv_weights, *arcs.tensors]
    return Parts(*graph.recorder(output.device).run((arcs.fixed, options, differentiate), work, inputs))


class _ChainFunction(torch.autograd.Function):
    """Forward-backward gives objective and derivatives at once, so that the gradients are known beforehand."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, xent_output: Tensor | None, parts: Parts, terms: _Terms, xent_regularize: float
    ) -> Tensor:
        derivatives = (parts.derivative, parts.xent_derivative)
        for values in derivatives:
            if values is not None and not terms.ok:
                values.zero_()
        ctx.save_for_backward(*derivatives)
        xent_term = xent_regularize * (terms.xent_objf or 0.0)
        return output.new_tensor(-(terms.objf + terms.l2_term + terms.penalty + xent_term))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        grads = [
            values * -grad if needed else None
            for values, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[:2], strict=True)
        ]
        return (*grads, None, None, None)
