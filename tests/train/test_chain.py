"""The chain objective: its value against the definition and Kaldi's, its gradients against finite differences."""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.kaldi.egs import read_examples
from kaldi_quant.kaldi.fst import ARC, Fst
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.supervision_join import join
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph, read_denominator_graph
from kaldi_quant.nnet3.chain.denominator import denominator
from kaldi_quant.nnet3.chain.numerator import NumeratorArcs, numerator
from kaldi_quant.nnet3.chain.objective import ChainObjective, chain_objective
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.chain.sparse import SparseMatrix
from tests.train.chain_by_hand import (
    den_log_prob,
    initial_probs,
    num_log_prob,
    random_den_fst,
    random_output,
    random_supervision,
)

N, T, PDFS = 3, 6, 7
DEN = random_den_fst(states=9, pdfs=PDFS - 1, arcs=40)
GRAPH = DenominatorGraph(DEN, PDFS)
EVERYTHING = ChainOptions(0.1, 0.3, 0.02, 0.05)


def gradients(
    output: Tensor,
    arcs: NumeratorArcs,
    options: ChainOptions,
    xent: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[ChainObjective, Tensor, Tensor | None]:
    output = output.clone().requires_grad_()
    xent = None if xent is None else xent.clone().requires_grad_()
    result = chain_objective(GRAPH, arcs, output, xent, options, weights)
    result.loss.backward()
    assert output.grad is not None
    return result, output.grad, None if xent is None else xent.grad


# Values


def test_initial_probabilities_are_the_mean_of_a_hundred_steps() -> None:
    assert np.allclose(GRAPH.initial_probs, initial_probs(DEN), rtol=1e-12)
    assert GRAPH.initial_probs.sum() == pytest.approx(1)


@pytest.mark.parametrize("leaky", [1e-5, 0.1, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_denominator(leaky: float, dtype: torch.dtype) -> None:
    output = random_output(N, 40, PDFS)
    expected = [den_log_prob(DEN, rows.numpy(), leaky) for rows in output]
    got = denominator(GRAPH, output.to(dtype), leaky, with_derivative=True)
    assert np.allclose(got.log_prob, expected, rtol=1e-5 if dtype == torch.float32 else 1e-10) and got.ok
    assert got.occupation is not None and got.occupation.dtype == dtype
    assert torch.allclose(got.occupation.sum(2), torch.ones(N, 40, dtype=dtype), atol=1e-4)
    alone = denominator(GRAPH, output.to(dtype), leaky, with_derivative=False)
    assert torch.equal(alone.log_prob, got.log_prob) and alone.occupation is None


def test_the_denominator_stays_in_range() -> None:
    """Likelihoods of e±30 over hundreds of frames: scaling at each frame keeps float32 from over- and underflow."""
    for value in (-1000.0, -30.0, 30.0, 1000.0):
        got = denominator(GRAPH, torch.full((1, 500, PDFS), value), 0.1, with_derivative=True)
        expected = den_log_prob(DEN, np.full((500, PDFS), value), 0.1)
        assert float(got.log_prob) == pytest.approx(expected, rel=1e-5) and got.ok


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numerator(end_to_end: bool, dtype: torch.dtype) -> None:
    supervision = random_supervision(N, T, PDFS, end_to_end=end_to_end)
    output = random_output(N, T, PDFS)
    expected = [num_log_prob(fst, rows.numpy()) for fst, rows in zip(supervision.fsts, output, strict=True)]
    got = numerator(NumeratorArcs.of(supervision), output.to(dtype), with_derivative=True)
    assert np.allclose(got.log_prob, expected, rtol=1e-6 if dtype == torch.float32 else 1e-12)
    assert got.occupation is not None and got.occupation.dtype == dtype
    assert torch.allclose(got.occupation.sum(2), torch.ones(N, T, dtype=dtype), atol=1e-5)


@pytest.mark.parametrize(("ends", "parts"), [(1, N), (2, 1)])
def test_joined_fsts_give_the_same_numerator(ends: int, parts: int) -> None:
    """An FST of several sequences, as merged examples hold, that can be taken apart and one that cannot."""
    supervision = random_supervision(N, T, PDFS, ends=ends)
    output = random_output(N, T, PDFS)
    separate = numerator(NumeratorArcs.of(supervision), output, with_derivative=True)
    joined = replace(supervision, fsts=[join(supervision.fsts)])
    together = numerator(NumeratorArcs.of(joined), output, with_derivative=True)
    assert len(together.log_prob) == parts
    assert float(together.log_prob.sum()) == pytest.approx(float(separate.log_prob.sum()))
    assert separate.occupation is not None and together.occupation is not None
    assert torch.allclose(separate.occupation, together.occupation)


def test_a_minibatch_of_the_example(example: Path) -> None:
    """A few sequences of speech with the real graph."""
    folder = example / "exp" / "chain" / "tdnn1a_sp"
    fst = read_fst(folder / "den.fst")
    graph = read_denominator_graph(folder / "den.fst", 208)
    archive = f"ark:{folder}/egs/valid_diagnostic.cegs"
    supervisions = [eg.outputs[0].supervision for _, eg in islice(read_examples(archive), 3)]
    for supervision in supervisions:
        output = random_output(1, supervision.frames_per_sequence, 208)
        result = chain_objective(graph, NumeratorArcs.of(supervision), output.float(), options=ChainOptions(0.1))
        rows = output[0].numpy()
        expected = num_log_prob(supervision.fsts[0], rows) - den_log_prob(fst, rows, 0.1)
        assert result.objf == pytest.approx(expected, rel=1e-5)
        assert result.weight == supervision.frames_per_sequence


def test_the_parts_of_the_objective() -> None:
    supervision = random_supervision(N, T, PDFS, weight=0.5)
    arcs = NumeratorArcs.of(supervision)
    output = random_output(N, T, PDFS)
    output[0, 0, 0], output[1, 2, 1] = 31, -34
    xent = random_output(N, T, PDFS, seed=1).log_softmax(2)
    result, _, _ = gradients(output, arcs, EVERYTHING, xent)
    rows = [values.numpy() for values in output]
    num = sum(num_log_prob(fst, row) for fst, row in zip(supervision.fsts, rows, strict=True))
    assert result.objf == pytest.approx(0.5 * (num - sum(den_log_prob(DEN, row, 0.1) for row in rows)))
    assert result.l2_term == pytest.approx(-0.5 * 0.5 * 0.02 * float(output.square().sum()))
    posterior = numerator(arcs, output, with_derivative=True).occupation
    assert posterior is not None and result.xent_objf is not None
    assert result.xent_objf == pytest.approx(0.5 * float((posterior * xent).sum()))
    penalty = 0.5 * 0.05 * (1 + 16)
    total = result.objf + result.l2_term + 0.3 * result.xent_objf - penalty
    assert result.loss.item() == pytest.approx(-total)
    assert result.weight == 0.5 * N * T and result.ok
    with torch.no_grad():
        again = chain_objective(GRAPH, arcs, output, xent, EVERYTHING)
    assert (again.objf, again.xent_objf) == (result.objf, result.xent_objf) and not again.loss.requires_grad


# Gradients, against finite differences in double precision


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        ChainOptions(1e-5, 0, 0, 0),
        ChainOptions(0.3, 0, 0, 0),
        ChainOptions(0.1, 0, 0.02, 0),
        ChainOptions(0.1, 0, 0.02, 0.05),
    ],
    ids=["hardly leaky", "leaky", "l2", "all"],
)
def test_gradient_of_the_output(options: ChainOptions, end_to_end: bool) -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS - 1, weight=0.7, end_to_end=end_to_end))
    arcs = replace(arcs, shape=(N, T, PDFS), element=arcs.element + arcs.element // (PDFS - 1))
    output = random_output(N, T, PDFS)
    # The last pdf is in neither graph, so that the limits of the denominator do not show.
    output[..., -1] = torch.tensor([-50.0, -31.0, 0.0, 29.0, 33.0, 90.0])
    output.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: chain_objective(GRAPH, arcs, x, None, options).loss, (output,), eps=1e-6, atol=1e-7, rtol=1e-6
    )


def test_gradient_of_the_cross_entropy_output() -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS, weight=0.7))
    output, xent = random_output(N, T, PDFS), random_output(N, T, PDFS, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: chain_objective(GRAPH, arcs, output, x, EVERYTHING).loss, (xent,), eps=1e-6, atol=1e-7
    )
    _, grad, xent_grad = gradients(output, arcs, EVERYTHING, xent.detach())
    _, without, _ = gradients(output, arcs, EVERYTHING)
    posterior = numerator(arcs, output, with_derivative=True).occupation
    # The targets of the cross-entropy are constants for the output.
    assert torch.equal(grad, without)
    assert xent_grad is not None and posterior is not None
    assert torch.allclose(xent_grad, -0.3 * 0.7 * posterior)


def test_weights_of_derivatives() -> None:
    """The gradient is that of the objective along each frame's weight."""
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS))
    output, xent = random_output(N, T, PDFS), random_output(N, T, PDFS, seed=1)
    weights = torch.rand(N, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights[0, 0] = 0
    result, grad, xent_grad = gradients(output, arcs, EVERYTHING, xent, weights)
    plain, unweighted, _ = gradients(output, arcs, EVERYTHING, xent)
    assert result.objf == plain.objf and result.loss.item() == plain.loss.item()
    assert not grad[0, 0].any() and unweighted[0, 0].all()
    _, unheeded, _ = gradients(output, arcs, replace(EVERYTHING, apply_deriv_weights=False), xent, weights)
    assert torch.equal(unheeded, unweighted)
    options = replace(EVERYTHING, xent_regularize=0)
    for seed in range(5):
        direction = random_output(N, T, PDFS, seed=seed)
        step = 1e-5 * weights[..., None] * direction
        up, down = (chain_objective(GRAPH, arcs, x, None, options).loss for x in (output + step, output - step))
        assert float(up - down) / 2e-5 == pytest.approx(float((grad * direction).sum()), rel=1e-6, abs=1e-7)
    _, _, plain_xent_grad = gradients(output, arcs, EVERYTHING, xent)
    assert xent_grad is not None and plain_xent_grad is not None
    assert torch.allclose(xent_grad, plain_xent_grad * weights[..., None])


def test_beyond_the_limit_the_derivative_goes_on() -> None:
    """As in Kaldi: where the denominator takes 45 for 30, its derivative is that at 30, not 0."""
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS))
    output = random_output(N, T, PDFS)
    output[1, 2, 3] = 45
    got = denominator(GRAPH, output, 0.1, with_derivative=True).occupation
    at_limit = denominator(GRAPH, output.clamp(max=30), 0.1, with_derivative=True).occupation
    assert got is not None and at_limit is not None
    assert torch.equal(got, at_limit) and got[1, 2, 3] > 0.9
    _, grad, _ = gradients(output, arcs, ChainOptions(0.1, 0, 0, 0.05))
    _, without, _ = gradients(output, arcs, ChainOptions(0.1, 0, 0, 0))
    expected = torch.zeros_like(output)
    expected[1, 2, 3] = 0.05 * 15
    assert torch.allclose(grad - without, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_in_both_precisions(dtype: torch.dtype) -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS))
    output, xent = random_output(N, T, PDFS), random_output(N, T, PDFS, seed=1)
    exact = gradients(output, arcs, EVERYTHING, xent)
    got = gradients(output.to(dtype), arcs, EVERYTHING, xent.to(dtype))
    assert got[1].dtype == dtype and torch.allclose(got[1].double(), exact[1], atol=2e-5)
    assert got[0].loss.item() == pytest.approx(exact[0].loss.item(), rel=1e-5)


def test_half_precision_is_computed_in_single() -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS))
    output, xent = (random_output(N, T, PDFS, seed).bfloat16() for seed in (0, 1))
    result, grad, xent_grad = gradients(output, arcs, EVERYTHING, xent)
    single, single_grad, _ = gradients(output.float(), arcs, EVERYTHING, xent.float())
    assert result.objf == single.objf and result.loss.dtype == torch.float32
    assert xent_grad is not None and grad.dtype == xent_grad.dtype == torch.bfloat16
    assert torch.equal(grad, single_grad.bfloat16())


def test_the_loss_is_scaled_by_what_follows() -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS))
    output = random_output(N, T, PDFS).requires_grad_()
    result = chain_objective(GRAPH, arcs, output, options=EVERYTHING)
    (result.loss / result.weight).backward()
    assert output.grad is not None
    assert torch.allclose(output.grad * result.weight, gradients(output.detach(), arcs, EVERYTHING)[1])


# What goes wrong


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_no_finite_number_counts_minus_ten_per_frame(value: float) -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS, weight=0.5))
    output, xent = random_output(N, T, PDFS), random_output(N, T, PDFS)
    output[1, 1] = value
    result, grad, xent_grad = gradients(output, arcs, EVERYTHING, xent)
    assert not result.ok and result.objf == -10 * 0.5 * N * T and result.l2_term == 0 and result.xent_objf == 0
    assert result.loss.item() == -result.objf
    assert xent_grad is not None and not grad.any() and not xent_grad.any()


def test_an_end_to_end_fst_without_a_path_of_the_length() -> None:
    supervision = random_supervision(N, T, PDFS, end_to_end=True)
    supervision.fsts[1].final[:] = np.inf
    result, grad, _ = gradients(random_output(N, T, PDFS), NumeratorArcs.of(supervision), EVERYTHING)
    assert not result.ok and result.objf == -10 * N * T and not grad.any()


def test_outputs_of_another_shape() -> None:
    arcs = NumeratorArcs.of(random_supervision(N, T, PDFS))
    with pytest.raises(DataError, match=r"the output is \(3, 5, 7\), and the supervision is for one of \(3, 6, 7\)"):
        chain_objective(GRAPH, arcs, random_output(N, T - 1, PDFS))
    with pytest.raises(DataError, match="the denominator has 7 pdfs"):
        chain_objective(GRAPH, arcs, random_output(N, T, PDFS + 1))
    with pytest.raises(DataError, match="the cross-entropy output is"):
        chain_objective(GRAPH, arcs, random_output(N, T, PDFS), random_output(N, T, PDFS - 1))
    with pytest.raises(DataError, match="weights of derivatives do not fit"):
        chain_objective(GRAPH, arcs, random_output(N, T, PDFS), None, EVERYTHING, torch.ones(T, N))


def test_a_graph_of_another_tree(example: Path) -> None:
    path = example / "exp" / "chain" / "tdnn1a_sp" / "den.fst"
    sentence = f"{path}: an arc has the label 208, and labels are pdf-ids plus one of the 207 pdfs of the model"
    with pytest.raises(FormatError, match=sentence):
        read_denominator_graph(path, 207)


def test_graphs_that_are_no_hmm() -> None:
    arcs = np.array([(1, 1, 0.0, 1)], ARC)
    with pytest.raises(FormatError, match="the arcs of state 1 sum up to 0"):
        DenominatorGraph(Fst("vector", 0, np.float32([np.inf, np.inf]), np.array([0, 1, 1]), arcs), 3)
    with pytest.raises(FormatError, match="no path of the denominator FST is as long as 100 frames"):
        DenominatorGraph(Fst("vector", 0, np.float32([np.inf, 0]), np.array([0, 1, 1]), arcs), 3)
    arcs["weight"] = -5
    with pytest.raises(FormatError, match="the arcs of state 0 sum up to 148"):
        DenominatorGraph(Fst("vector", 0, np.float32([np.inf, 0]), np.array([0, 1, 1]), arcs), 3)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0.0, 0, 0, 0), "--leaky-hmm-coefficient=0: "),
        ((1.0, 0, 0, 0), "--leaky-hmm-coefficient=1: "),
        ((0.1, -1, 0, 0), "--xent-regularize=-1: "),
        ((0.1, 0, math.nan, 0), "--l2-regularize=nan: "),
        ((0.1, 0, 0, math.inf), "--out-of-range-regularize=inf: "),
    ],
)
def test_impossible_options(values: tuple[float, float, float, float], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ChainOptions(*values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_products(dtype: torch.dtype) -> None:
    """Rows and columns without any element included."""
    dense = np.random.default_rng(0).random((7, 5)) * (np.random.default_rng(1).random((7, 5)) < 0.4)
    dense[3], dense[:, 2] = 0, 0
    x = torch.randn(5, 4, dtype=dtype)
    product = SparseMatrix(csr_matrix(dense), dtype, x.device) @ x
    torch.testing.assert_close(product, torch.from_numpy(dense).to(dtype) @ x)
