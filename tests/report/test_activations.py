"""Activation ranges: against all values that a network's nodes take."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kaldi_quant.nnet3.inference import Inference
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.report.activations import ranges_of_model, with_spreads
from tests.export.quantized_examples import OPTIONS, Utterances, quantized


def all_values(network: QuantizedNetwork, utterances: Utterances) -> dict[str, np.ndarray]:
    """Each node's values: (rows, dim), of the dequantized weights with activations in float."""
    seen: dict[str, list[np.ndarray]] = {name: [] for name in network.activations}
    model = AcousticModel(nnet_of(network.dequantized()))

    def tap(name: str, x: torch.Tensor) -> torch.Tensor:
        seen[name].append(x.reshape(-1, x.shape[-1]).numpy().copy())
        return x

    for name in seen:
        model.taps[name] = lambda x, name=name: tap(name, x)
    assert len(list(Inference(model, None, OPTIONS).compute(utterances))) == len(utterances)
    return {name: np.concatenate(parts) for name, parts in seen.items()}


@pytest.fixture(scope="module")
def case() -> tuple[QuantizedNetwork, Utterances]:
    """A network whose grids are half as wide as its activations."""
    _, network, utterances = quantized("tdnnf_small", "w3-affine")
    narrow = {name: replace(grid, scale=grid.scale / 2) for name, grid in network.activations.items()}
    return replace(network, activations=narrow), utterances


def test_spreads_are_those_of_all_values(case: tuple[QuantizedNetwork, Utterances]) -> None:
    network, utterances = case
    ranges = with_spreads(ranges_of_model("m", network), network, utterances, OPTIONS)
    assert ranges.seconds == sum(len(feats) for _, feats in utterances) / 100
    values = all_values(network, utterances)
    assert [node.name for node in ranges.nodes] == list(values)
    assert any(node.columns > 1 for node in ranges.nodes) and any(node.columns == 1 for node in ranges.nodes)
    for node in ranges.nodes:
        found, grid = values[node.name].astype(np.float64), network.activations[node.name]
        assert node.spread is not None and node.spread.count == found.size
        assert node.bits == grid.spec.bits
        low = ((grid.spec.qmin - grid.zero_point) * grid.scale.double()).numpy()
        high = ((grid.spec.qmax - grid.zero_point) * grid.scale.double()).numpy()
        assert (node.low, node.high) == (low.min(), high.max())
        for points, exact in ((node.spread.values, found), (node.spread.positions, (found - low) / (high - low))):
            assert (points[0], points[-1]) == pytest.approx((exact.min(), exact.max()), rel=1e-5, abs=1e-6)
            # A histogram of 4096 bins over at most four times the range.
            bin_width = 4 * np.abs(exact).max() / 4096
            quantiles = np.quantile(exact, (0.01, 0.5, 0.99), method="inverted_cdf")
            assert points[1:4] == pytest.approx(quantiles, abs=bin_width)
        integers = np.round(found / grid.scale.double().numpy()) + grid.zero_point.numpy()
        clipped = np.mean((integers < grid.spec.qmin) | (integers > grid.spec.qmax))
        assert node.spread.beyond == pytest.approx(clipped, abs=2 / found.size)
    assert max(node.spread.beyond for node in ranges.nodes if node.spread) > 0.001


def test_half_a_step_beyond_the_grid_is_not_clipped() -> None:
    from kaldi_quant.quant.grid import Grid
    from kaldi_quant.quant.spec import QSpec
    from kaldi_quant.report.activations import _GridObserver

    grid = Grid(QSpec(4, signed=False), torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    observer = _GridObserver(grid)
    observer.observe(torch.tensor([[-0.6, -0.4, 0.0, 0.0, 15.4, 15.6, 3.0, 3.0]]))
    spread = observer.spread()
    assert spread is not None and spread.beyond == 2 / 8
    assert spread.values[2] == pytest.approx(0.0, abs=0.01) and spread.positions[-1] == pytest.approx(15.6 / 15)


def test_zeros_are_zero() -> None:
    from kaldi_quant.report.activations import _Values

    values = _Values()
    values.observe(torch.tensor([0.0] * 60 + [1.0] * 40))
    assert values.five() == (0.0, 0.0, 0.0, pytest.approx(1.0, abs=1e-3), 1.0)
    above = _Values()
    above.observe(torch.tensor([2.0, 3.0]))
    above.observe(torch.tensor([4.0]))
    assert (above.five()[0], above.five()[-1]) == (2.0, 4.0)
