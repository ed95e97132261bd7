"""Configurations by what layers are for: widths, static and dynamic ranges in one network of any structure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.quantization import quantize
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.quant.search.measuring import Meter
from tests.references import NNET3, load, model_file, read_archive

OPTIONS = InferenceOptions(ChunkOptions(3))


def quantized(nnet: Nnet, config: PtqConfig, utterances: list[tuple[str, np.ndarray]]) -> QuantizedNetwork:
    return quantize(nnet, config, UtteranceSet(utterances, OPTIONS))


def check_structure(network: QuantizedNetwork, config: PtqConfig) -> set[str]:
    """Every layer is as the rules of its kinds say; returns the kinds."""
    kinds = layer_kinds(network.host.nodes)
    for name, layer in network.layers.items():
        chosen = replace(config.default)
        for pattern, fields in config.layers.items():
            if pattern.removeprefix("@") in kinds[name]:
                chosen = replace(chosen, **fields)
        assert layer.weight.spec == chosen.weight_spec(), name
        assert isinstance(layer, DynamicLinear if chosen.ranges == "dynamic" else IntegerLinear), name
        # Grids that layers share are as wide as the widest reader wants.
        assert network.act_bits(name) >= chosen.act_bits
    return set().union(*kinds.values())


def test_the_preset_is_for_networks_of_every_structure() -> None:
    config = read_preset("by-structure")
    # The rules as they are, the quickest way of rounding.
    config = replace(config, default=replace(config.default, method="minmax"), sequential=False, observer="minmax")
    seen = set()
    for name in ("tdnnf_small", "tdnn_lda", "fast_lstmp", "conv_usual"):
        model = load(model_file(NNET3 / name))
        utterances = list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())[:2]
        seen |= check_structure(quantized(model.nnet, config, utterances), config)
    assert seen == {"input", "output", "convolution", "recurrent", "bottleneck", "hidden", "cell"}


def test_static_and_dynamic_ranges_in_one_network(shared: Path) -> None:
    nnet = load(shared / "parity/tdnn_lstm/final.mdl").nnet
    utterances = [(name, feats[:100]) for name, feats in list(read_archive(shared / "parity/feats.ark").items())[:2]]
    widths = {"@input": {"bits": 8}, "@hidden": {"bits": 5}, "@output": {"bits": 7, "act_bits": 6}}
    config = PtqConfig(
        LayerConfig(method="minmax"), {**widths, "@recurrent": {"bits": 6, "ranges": "dynamic"}}, observer="minmax"
    )
    network = quantized(nnet, config, utterances)
    assert check_structure(network, config) == {"input", "hidden", "recurrent", "cell", "output"}
    assert not network.float_layers
    dynamic = {name for name, layer in network.layers.items() if isinstance(layer, DynamicLinear)}
    assert dynamic == {"lstm1.W_all", "lstm1.rp", "lstm2.W_all", "lstm2.rp"}
    # What is negative too has a zero point inside its grid: activations are asymmetric.
    assert any(0 < int(grid.zero_point.reshape(-1)[0]) < grid.spec.qmax for grid in network.activations.values())
    wide = replace(config, default=replace(config.default, bits=10, act_bits=10), layers={"@recurrent": {}})
    meter = Meter(network.host, UtteranceSet(utterances, OPTIONS))
    assert 0 < meter.divergence(quantized(nnet, wide, utterances)) < meter.divergence(network) < 0.01


def test_a_kind_that_a_network_lacks_is_skipped_and_one_that_does_not_exist_is_not() -> None:
    kinds = {"lda": {"input"}, "output": {"output"}}
    chosen = PtqConfig(layers={"@recurrent": {"bits": 4}, "@output": {"bits": 6}}).for_layers(kinds)
    assert [layer.bits for layer in chosen.values()] == [8, 6]
    with pytest.raises(
        UsageError, match=r"layers: the kind 'recurent' is not one of input, output, convolution, recurr"
    ):
        PtqConfig(layers={"@recurent": {"bits": 4}}).for_layers(kinds)
    with pytest.raises(UsageError, match=r"the pattern 'lstm\*' matches no layer"):
        PtqConfig(layers={"lstm*": {"bits": 4}}).for_layers(kinds)
