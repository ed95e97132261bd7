"""Recording of the objective, by a stand-in for CUDA graphs, and the numerator's form for GPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.nnet3.chain.arc_layout import rounded_up
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.forward_backward import forward_backward
from kaldi_quant.nnet3.chain.numerator import NumeratorArcs, numerator
from kaldi_quant.nnet3.chain.objective import chain_objective
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.chain.padded_numerator import PaddedArcs, PaddedTensors
from kaldi_quant.nnet3.chain.recorder import Function, Recorder, Tensors
from tests.train.chain_by_hand import random_den_fst, random_output, random_supervision

CPU = torch.device("cpu")
N, T, PDFS = 3, 6, 7
EVERYTHING = ChainOptions(0.1, 0.3, 0.02, 0.05)


class StandIn:
    """What is recorded reads the inputs' and writes the outputs' places, as a CUDA graph does."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, function: Function, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        self.recorded += 1
        # Recording computes nothing.
        outputs = [None if value is None else torch.full_like(value, torch.nan) for value in function(inputs)]

        def replay() -> None:
            self.replayed += 1
            for own, value in zip(outputs, function(inputs), strict=True):
                if own is not None:
                    own.copy_(value)

        return replay, outputs


@pytest.fixture
def graph() -> DenominatorGraph:
    return DenominatorGraph(random_den_fst(states=9, pdfs=PDFS - 1, arcs=40), PDFS)


def minibatch(number: int) -> tuple[NumeratorArcs, Tensor, Tensor]:
    """Each with other FSTs and other outputs."""
    supervision = random_supervision(N, T, PDFS, weight=0.5)
    fsts = supervision.fsts[number % N :] + supervision.fsts[: number % N]
    output, xent = (random_output(N, T, PDFS).float() * scale for scale in (1 + number, 0.5 - number))
    return NumeratorArcs.of(replace(supervision, fsts=fsts)), output, xent.log_softmax(2)


def gradients(graph: DenominatorGraph, arcs: Any, output: Tensor, xent: Tensor) -> tuple[float, Tensor, Tensor]:
    output, xent = output.clone().requires_grad_(), xent.clone().requires_grad_()
    loss = chain_objective(graph, arcs, output, xent, EVERYTHING).loss
    loss.backward()
    assert output.grad is not None and xent.grad is not None
    return loss.item(), output.grad, xent.grad


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize("ends", [1, 2])
def test_padded_arcs_give_the_same_numerator(end_to_end: bool, ends: int) -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS, end_to_end=end_to_end, ends=ends))
    output = random_output(N, T, PDFS)
    padded = arcs.padded(CPU)
    assert padded.tensors.entering_log_prob.isinf().any()
    expected, found = (numerator(form, output, with_derivative=True) for form in (arcs, padded))
    torch.testing.assert_close(found.log_prob, expected.log_prob, rtol=1e-13, atol=0)
    torch.testing.assert_close(found.occupation, expected.occupation, rtol=1e-11, atol=1e-300)
    assert numerator(padded, output, with_derivative=False).occupation is None


@pytest.mark.parametrize("end_to_end", [False, True])
def test_padding_reads_nothing_else(end_to_end: bool) -> None:
    """What no arc reads may be anything, the first element too."""
    supervision = random_supervision(1, T, PDFS, end_to_end=end_to_end)
    supervision.fsts[0].arcs["ilabel"] = np.maximum(supervision.fsts[0].ilabel, 2)
    arcs = NumeratorArcs.of(supervision)
    output = random_output(1, T, PDFS)
    unread = torch.ones(output.numel(), dtype=torch.bool).index_fill_(0, arcs.element, False)
    assert unread.any()
    for name in ("entering_element", "leaving_element"):
        assert set(getattr(arcs.padded(CPU).tensors, name).view(-1).tolist()) == set(arcs.element.tolist())
    expected = numerator(arcs, output, with_derivative=True)
    output.view(-1)[unread] = torch.nan
    found = numerator(arcs.padded(CPU), output, with_derivative=True)
    assert found.log_prob.tolist() == pytest.approx(expected.log_prob.tolist(), rel=1e-13)
    assert found.occupation is not None and found.occupation.isfinite().all()


def test_sizes_are_rounded_up_to_few() -> None:
    assert [rounded_up(number) for number in (1, 3, 7, 8, 9, 150, 193, 1000)] == [1, 3, 8, 8, 12, 192, 256, 1024]
    assert len({rounded_up(number) for number in range(512, 1025)}) == 3


def test_what_is_recorded_gives_what_is_computed(graph: DenominatorGraph) -> None:
    """Minibatches of one shape with other contents: what a recording made of an earlier one is not changed by it."""
    minibatches = [minibatch(number) for number in range(4)]
    expected = [gradients(graph, *given) for given in minibatches]
    stand_in = StandIn()
    graph.recorder(CPU)._record = stand_in
    kept = []
    for (arcs, output, xent), wanted in zip(minibatches, expected, strict=True):
        found = gradients(graph, arcs.padded(CPU), output, xent)
        kept.append((found, wanted))
    for (loss, *found), (wanted_loss, *wanted) in kept:
        assert loss == pytest.approx(wanted_loss, rel=1e-6)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    # The first is only computed.
    assert (stand_in.recorded, stand_in.replayed) == (1, 3)


def test_gradients_wait_for_the_backward_pass_unchanged(graph: DenominatorGraph) -> None:
    graph.recorder(CPU)._record = StandIn()
    (arcs, output, xent), other = minibatch(0), minibatch(1)
    wanted = gradients(graph, arcs, output, xent)[1]
    for _ in range(2):
        gradients(graph, arcs.padded(CPU), output, xent)
    later = output.clone().requires_grad_()
    loss = chain_objective(graph, arcs.padded(CPU), later, xent, EVERYTHING).loss
    gradients(graph, other[0].padded(CPU), *other[1:])
    loss.backward()
    torch.testing.assert_close(later.grad, wanted, rtol=1e-5, atol=1e-7)


def test_shapes_and_options_are_recorded_each_by_itself(graph: DenominatorGraph) -> None:
    stand_in = StandIn()
    graph.recorder(CPU)._record = stand_in
    arcs, output, xent = minibatch(0)
    padded = arcs.padded(CPU)
    for _ in range(2):
        results = [
            chain_objective(graph, padded, output, options=EVERYTHING).objf,
            chain_objective(graph, padded, output, xent, EVERYTHING).objf,
            chain_objective(graph, padded, output, xent, ChainOptions(0.2)).objf,
            chain_objective(graph, padded, output.double(), xent.double(), EVERYTHING).objf,
            chain_objective(graph, replace(padded, weight=2.0), output, xent, EVERYTHING).objf,
            chain_objective(graph, padded, output.clone().requires_grad_(), xent, EVERYTHING).objf,
        ]
    assert stand_in.recorded == stand_in.replayed == 6
    assert results[0] == results[1] == results[5] != results[2] and results[4] == 4 * results[0]


def double(inputs: Tensors) -> Tensors:
    return [2 * inputs[0]]


def test_only_the_latest_are_kept() -> None:
    stand_in = StandIn()
    recorder = Recorder(stand_in)
    for size in range(1, 18):
        recorder.run("double", double, [torch.ones(size)])
    for size in (17, 1):
        recorder.run("double", double, [torch.ones(size)])
    assert stand_in.recorded == 1


def test_what_cannot_be_recorded_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(function: Function, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    recorder = Recorder(refuse)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            (found,) = recorder.run("double", double, [torch.full((2,), float(number))])
            assert found.tolist() == [2 * number] * 2
    assert [record.message for record in caplog.records] == [
        "the objective cannot be recorded as a CUDA graph and is computed step by step: operation not permitted when "
        "stream is capturing"
    ]


def test_too_little_memory_is_an_error() -> None:
    def refuse(function: Function, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        raise torch.OutOfMemoryError("out of memory")

    recorder = Recorder(refuse)
    recorder.run("double", double, [torch.ones(1)])
    with pytest.raises(torch.OutOfMemoryError):
        recorder.run("double", double, [torch.ones(1)])


@pytest.mark.parametrize("differentiate", [False, True])
def test_nothing_within_waits_for_a_gpu(graph: DenominatorGraph, differentiate: bool) -> None:
    """Tensors on the device "meta" have no content that could be asked for, and mix with no others."""
    arcs, output, xent = minibatch(0)
    nowhere = torch.device("meta")
    given = [values.to(nowhere) for values in (output, xent, torch.ones(N, T))]
    parts = forward_backward(
        graph, arcs.padded(nowhere), given[0], given[1], EVERYTHING, given[2], differentiate=differentiate
    )
    assert parts.terms.is_meta and (parts.derivative is not None) == differentiate


def test_padded_arcs_move_whole() -> None:
    arcs = minibatch(0)[0].padded(CPU).to(torch.device("meta"))
    assert isinstance(arcs, PaddedArcs) and isinstance(arcs.tensors, PaddedTensors)
    assert all(tensor.is_meta for tensor in arcs.tensors)
