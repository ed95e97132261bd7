"""Moments and samples of what a layer reads in two networks, and the weights that make up for the difference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.calibration import input_statistics
from kaldi_quant.quant.paired_moments import (
    PairedMoments,
    PairedSample,
    see_rows_on_grid,
)
from kaldi_quant.quant.planes import Planes

OPTIONS = InferenceOptions(ChunkOptions(3))


def pairs(seed: int, rows: int, columns: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Float inputs that are correlated, and what a coarse grid makes of them."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=random, dtype=torch.float64)
    float_inputs = torch.randn(rows, columns, generator=random, dtype=torch.float64) @ mixing + offset
    return float_inputs.round(), float_inputs


def moments_of(inputs: Tensor, float_inputs: Tensor, batches: int = 4) -> PairedMoments:
    moments = PairedMoments(inputs.shape[1])
    for x, y in zip(inputs.tensor_split(batches), float_inputs.tensor_split(batches), strict=True):
        moments.add(x, y)
    return moments


@pytest.mark.parametrize(("rows", "batches"), [(1, 1), (50, 1), (200, 7), (9, 12)])
def test_moments_are_those_of_all_batches_together(rows: int, batches: int) -> None:
    x, y = pairs(rows, rows, 5, offset=100.0)
    moments = moments_of(x, y, batches)
    joint = np.cov(np.concatenate([x.numpy(), y.numpy()], axis=1), rowvar=False, bias=True)
    assert moments.count == rows
    np.testing.assert_allclose(moments.mean, x.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.float_mean, y.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, joint[:5, :5], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(moments.cross_covariance, joint[5:, :5], rtol=1e-9, atol=1e-10)


def test_large_means_cost_float32_no_digits() -> None:
    x, y = pairs(1, 400, 4)
    x, y = (x + 1000.0).float(), (y + 1000.0).float()
    moments = moments_of(x, y)
    expected = torch.cov(x.double().T, correction=0)
    # Values lie up to half a step from the grid, whose steps depend on the range of the first rows alone.
    steps, sizes = Planes.over(x[:100]).step, expected.diagonal().sqrt()
    assert ((moments.covariance - expected).abs() <= (torch.outer(steps, sizes) + torch.outer(sizes, steps)) / 2).all()
    assert (steps <= 3e-3 * sizes).all()


@pytest.mark.parametrize("damping", [1e-4, 0.01, 1.0])
def test_compensated_weights_are_those_of_damped_least_squares(damping: float) -> None:
    x, y = pairs(2, 60, 6, offset=3.0)
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # The centred problem, with a row for each column that draws to the original weight.
    drawn = np.sqrt(len(x) * damping * float(x.var(0, correction=0).mean())) * np.eye(6)
    inputs = np.concatenate([(x - x.mean(0)).numpy(), drawn])
    outputs = np.concatenate([((y - y.mean(0)) @ weight.T).numpy(), drawn @ weight.numpy().T])
    expected = np.linalg.lstsq(inputs, outputs, rcond=None)[0].T
    found = moments_of(x, y).compensated(weight, damping)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert (found - weight).abs().max() > 1e-4


def test_nothing_is_made_up_for_where_nothing_was_lost() -> None:
    _, y = pairs(3, 80, 6)
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(moments_of(y, y).compensated(weight), weight)


@pytest.mark.parametrize("case", ["silence", "one row", "constant column", "fewer rows than columns"])
def test_moments_that_cannot_be_inverted_leave_weights_finite(case: str) -> None:
    x, y = pairs(4, {"one row": 1, "fewer rows than columns": 3}.get(case, 80), 6)
    if case == "silence":
        x, y = torch.zeros_like(x), torch.zeros_like(y)
    elif case == "constant column":
        x[:, 2] = 1.0
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = moments_of(x, y, batches=1).compensated(weight)
    assert found.isfinite().all()
    if case == "constant column":
        # It cannot tell what it should have been.
        assert torch.equal(found[:, 2], weight[:, 2])
        assert not torch.allclose(found, weight)
    elif case != "fewer rows than columns":
        assert torch.equal(found, weight)


def test_a_sample_keeps_pairs_together_and_no_row_twice() -> None:
    sample = PairedSample(limit=40, seed=3)
    rows = torch.arange(300.0).unsqueeze(1)
    for some in rows.split([1, 30, 30, 0, 200, 39]):
        sample.add(some, -some)
    assert len(sample) == len(sample.inputs) == 40
    assert torch.equal(sample.inputs, -sample.float_inputs)
    assert len(sample.inputs.unique()) == 40


def test_a_sample_holds_everything_below_its_limit() -> None:
    sample = PairedSample(limit=40)
    assert len(sample) == 0
    rows = torch.arange(35.0).unsqueeze(1)
    for some in rows.split(10):
        sample.add(some, some + 0.5)
    assert torch.equal(sample.inputs.sort(0).values, rows)
    assert torch.equal(sample.float_inputs - sample.inputs, torch.full((35, 1), 0.5))


def test_each_row_is_as_likely_as_any_other() -> None:
    rows, limit, trials = torch.arange(60.0).unsqueeze(1), 12, 1000
    counts = torch.zeros(60)
    for seed in range(trials):
        sample = PairedSample(limit, seed)
        for some in rows.split([5, 25, 20, 10]):
            sample.add(some, some)
        counts[sample.inputs[:, 0].long()] += 1
    expected = trials * limit / 60
    # 59 degrees of freedom: more than 98.3 once in a thousand; draws without replacement vary less.
    assert float(((counts - expected).square() / expected).sum()) < 98.3
    assert len(counts.unique()) > 10


@pytest.fixture(scope="module")
def data(example: Path) -> UtteranceSet:
    table = read_matrices(f"scp:{example}/data/train_sub_hires/feats.scp")
    return UtteranceSet([utterance for utterance, _ in zip(table, range(3), strict=False)], OPTIONS)


def test_rows_on_a_grid_are_paired_with_themselves(example: Path, data: UtteranceSet) -> None:
    model = AcousticModel(read_model(example / "exp/chain/tdnn1a_sp/final.mdl").nnet)
    sample = PairedSample()
    see_rows_on_grid(model, "tdnn3.affine", data, torch.round, sample.add)
    assert torch.equal(sample.inputs, sample.float_inputs.round())
    known = input_statistics(model, ["tdnn3.affine"], data, outer=False)["tdnn3.affine"]
    torch.testing.assert_close(sample.float_inputs.double().mean(0), known.mean, rtol=1e-5, atol=1e-5)
