"""M5 as it is documented: sizes, shapes, names."""

import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.keywords.networks.m5 import M5


def test_sizes_are_the_documented_ones() -> None:
    network = M5(n_output=35)
    assert sum(value.numel() for value in network.parameters()) == 26_915
    assert network.lengths(8000) == [8000, 496, 124, 122, 30, 28, 7, 5, 1]


def test_outputs_are_log_probabilities() -> None:
    output = M5(n_output=35).eval()(torch.randn(2, 1, 8000))
    assert output.shape == (2, 1, 35)
    torch.testing.assert_close(output.exp().sum(2), torch.ones(2, 1))


def test_parameters_have_the_ancestors_names() -> None:
    layers = {name.rpartition(".")[0] for name in M5().state_dict()}
    assert layers == {*(f"{part}{block}" for part in ("conv", "bn") for block in range(1, 5)), "fc1"}


def test_the_shortest_signal_leaves_one_value() -> None:
    network = M5(n_output=2).eval()
    least = network.least_samples
    assert network.lengths(least)[-1] == 1 and network.lengths(least - 1)[-1] == 0
    assert network(torch.randn(1, 1, least)).shape == (1, 1, 2)


@pytest.mark.parametrize("wrong", [{"conv_kernel_sizes": (80, 3, 3)}, {"stride": 0}])
def test_impossible_sizes_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="M5: expected 4 conv_kernel_sizes, and numbers above 0, found n_input 1"):
        M5(**wrong)
