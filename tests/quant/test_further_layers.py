"""Layers that were in float while others were trained, quantized afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.weight_only import WeightOnlyLinear
from tests.torchnn.recurrent_networks import enhancer, inputs

torch.set_num_threads(1)

WHY = "in float while others learn"
CONFIG = PtqConfig(LayerConfig(method="minmax"), {"@cell": {"float_reason": WHY}}, observer="minmax")
OF_RNN = ["rnn.l0.ih", "rnn.l0.hh", "rnn.l1.ih", "rnn.l1.hh"]


@pytest.fixture(scope="module")
def trained() -> kq.Quantized:
    network = enhancer("lstm")
    start = kq.quantize(network, CONFIG, calibration=inputs())
    assert start.float_layers == dict.fromkeys(OF_RNN, WHY)
    batches = [(x, network(x).detach() * 1.2) for x in inputs()]
    return kq.qat(start, batches, loss=functional.mse_loss, epochs=4, lr_initial=3e-3)


def rows(network: QuantizedNetwork) -> torch.Tensor:
    return network.model()(inputs()[0]).detach()


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_products_of_cells_are_a_kind(kind: str) -> None:
    found = kq.quantize(enhancer(kind), CONFIG, calibration=inputs())
    kinds = layer_kinds(found.network.host.nodes)
    assert [name for name in kinds if "cell" in kinds[name]] == OF_RNN
    assert [name for name in kinds if "recurrent" in kinds[name]] == OF_RNN[1::2]


@pytest.mark.parametrize("method", ["mse", "gptq"])
def test_float_layers_are_quantized_with_the_weights_that_were_trained(method: str, trained: kq.Quantized) -> None:
    whole = kq.quantize_further(trained, {"@cell": {"ranges": "dynamic", "method": method}})
    assert not whole.float_layers and list(trained.network.layers) == ["encoder.0", "mask"]
    assert list(whole.network.layers) == ["encoder.0", *OF_RNN, "mask"]
    for name, layer in whole.network.layers.items():
        if name not in OF_RNN:
            assert isinstance(layer, IntegerLinear) and layer is trained.network.layers[name]
            continue
        assert isinstance(layer, DynamicLinear)
        weight, original = trained.network.host.weight(name), enhancer("lstm").state_dict()
        assert not torch.equal(weight, original[f"rnn.weight_{name[-2:]}_{name[4:6]}"])
        # A step is about a hundredth of the largest weight: 8 bits.
        assert (layer.dequantized_weight() - weight).abs().max() < 0.02 * weight.abs().max()
    assert whole.config.layers["@cell"] == {"float_reason": "", "ranges": "dynamic", "method": method}
    expected, found = rows(trained.network), rows(whole.network)
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()


def test_weights_alone_and_some_of_the_layers(trained: kq.Quantized, tmp_path: Path) -> None:
    some = kq.quantize_further(
        trained,
        {"rnn.l0.*": {"act_bits": 0}, "rnn.l0.ih": {"act_bits": 0, "method": "adaround"}},
        calibration=inputs(2),
    )
    assert some.float_layers == dict.fromkeys(OF_RNN[2:], WHY)
    assert all(isinstance(some.network.layers[name], WeightOnlyLinear) for name in OF_RNN[:2])
    whole = kq.quantize_further(some, {"rnn.l1.*": {"ranges": "dynamic"}})
    assert not whole.float_layers
    kq.save(whole, tmp_path / "whole.safetensors")
    loaded = kq.load(tmp_path / "whole.safetensors")
    assert torch.equal(rows(loaded.network), rows(whole.network))
    with pytest.raises(UsageError, match="a file has no float weights"):
        kq.quantize_further(loaded, {"@cell": {"ranges": "dynamic"}})


def test_what_cannot_be(trained: kq.Quantized) -> None:
    with pytest.raises(UsageError, match=r"the layer rnn.l0.ih would have static ranges, and grids that other layers"):
        kq.quantize_further(trained, {"@cell": {"bits": 4}})
    with pytest.raises(UsageError, match="no layer in float that the configuration quantizes"):
        kq.quantize_further(trained, {"mask": {"ranges": "dynamic"}})
