"""A thousand random networks compute the same after preparation."""

import numpy as np
import pytest
import torch

from kaldi_quant.torchnn.host import TorchSource
from tests.torchnn.prepared import assert_unchanged, prepared
from tests.torchnn.random_networks import random_networks

torch.set_num_threads(1)

NETWORKS, PART = 1000, 100


@pytest.mark.parametrize("first", range(0, NETWORKS, PART))
def test_preparation_changes_no_float_output(first: int) -> None:
    products = set()
    for found in random_networks(PART, first):
        before = {name: value.clone() for name, value in found.network.state_dict().items()}
        host = prepared(found.network, found.example, fold=found.seed % 4 > 0)
        assert_unchanged(host, found.network, found.example)
        assert_unchanged(host, found.network, found.inputs(1, batch=3)[0])
        products |= {type(layer).__name__ for layer in host.region.layers.values()}
        after = found.network.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert products == {"Linear", "Convolution", "TransposedConvolution"}


def test_nor_does_preparation_in_float32() -> None:
    for found in random_networks(60, first=5000):
        with torch.no_grad():
            expected = found.network(found.example.clone())
            result = TorchSource(found.network, found.example).prepare(fold=True).complete().executable()(found.example)
        size = float(expected.abs().max()) or 1.0
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-5 * size)


def test_nor_does_rescaling_of_channels() -> None:
    groups = 0
    for found in random_networks(100, first=2000):
        host = prepared(found.network, found.example)
        random = np.random.default_rng(found.seed)
        factors = {group: np.exp(random.standard_normal(group.size)) for group in host.channel_groups()}
        rescaled = host.rescaled(factors)
        assert_unchanged(rescaled, found.network, found.example)
        for group in factors:
            groups += 1
            producer = next(iter(group.producers))
            assert (
                not torch.allclose(rescaled.weight(producer), host.weight(producer)) or not host.weight(producer).any()
            )
    assert groups > 50


def test_what_is_prepared_without_folding_can_be_folded_later() -> None:
    for found in random_networks(40, first=3000):
        once = prepared(found.network, found.example)
        later = prepared(found.network, found.example, fold=False).prepare(fold=True)
        assert_unchanged(later, found.network, found.example)
        assert later.nodes == once.nodes
        assert later.offsets.keys() == once.offsets.keys()
