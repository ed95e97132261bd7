"""Networks that share what comes before their first difference give what whole runs of each give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.model import AcousticPassage
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.branches import Branches
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import quantize
from kaldi_quant.quant.sensitivity import with_layers, without
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchSource
from tests.references import NNET3, load, model_file, read_archive
from tests.torchnn.attention_networks import random_attention
from tests.torchnn.random_networks import random_networks
from tests.torchnn.recurrent_networks import enhancer, inputs

CONFIG = PtqConfig(LayerConfig(bits=4, method="minmax"), observer="minmax", sequential=False)


def nnet3(name: str, seconds: float = 0.9) -> tuple[Source, Data]:
    model = load(model_file(NNET3 / name))
    feats = [(key, rows[:40]) for key, rows in read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items()]
    # Batches of an utterance or two.
    options = InferenceOptions(ChunkOptions(3), batch_seconds=seconds)
    return Nnet3Source(model.nnet), UtteranceSet(feats, options, lambda _: np.ones(10, np.float32))


def branches_of(network: QuantizedNetwork, other: QuantizedNetwork) -> Iterator[QuantizedNetwork]:
    """Each layer in float, with other weights, and with another grid at what it reads."""
    for name in [*network.layers, *network.matmuls]:
        yield without(network, name)
    for name in network.layers:
        yield replace(network, layers={**network.layers, name: other.layers[name]})
    for name, grid in network.activations.items():
        coarse = replace(grid, scale=grid.scale * 8)
        yield replace(network, activations={**network.activations, name: coarse})


def assert_same(trunk: QuantizedNetwork, branches: list[QuantizedNetwork], data: Data, memory: int = 1 << 30) -> int:
    """Each gives what a whole run of its reference gives; returns how many have shared anything."""
    found = Branches(trunk, data, memory)
    shared = 0
    for branch in sorted(branches, key=found.place):
        expected, outputs = dict(data.outputs(branch.model())), found.outputs(branch)
        assert list(outputs) == list(expected)
        for name, rows in expected.items():
            np.testing.assert_array_equal(outputs[name], rows)
        shared += found.place(branch) > 0
    found.close()
    return shared


def check(source: Source, data: Data, memory: int = 1 << 30, config: PtqConfig = CONFIG) -> int:
    network = quantize(source, config, data)
    other = quantize(source, replace(config, default=replace(config.default, bits=2)), data)
    alone = [with_layers(network, {name}) for name in [*network.layers, *network.matmuls]]
    shared = assert_same(with_layers(network, set()), [*alone, network], data, memory)
    return shared + assert_same(network, [*branches_of(network, other), network], data, memory)


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("tdnnf_small", 1 << 30),
        ("tdnnf_small", 20_000),
        ("fast_lstmp", 0),
        ("resnet_bypasses", 1 << 30),
        ("conv_usual", 0),
    ],
)
def test_nnet3(name: str, memory: int) -> None:
    assert check(*nnet3(name), memory) > 3


def test_ranges_of_each_sequence() -> None:
    layers = {"tdnn1*": {"ranges": "dynamic"}}
    assert check(*nnet3("tdnnf_small", 60), config=replace(CONFIG, layers=layers)) > 3
    assert (
        check(*nnet3("tdnnf_small", 60), config=replace(CONFIG, default=replace(CONFIG.default, ranges="dynamic"))) > 3
    )


def test_networks_of_torch() -> None:
    found = [
        check(TorchSource(one.network, one.example), TensorData(one.inputs(2))) for one in random_networks(6, 9000)
    ]
    assert sum(found) > 10


def test_products_of_two_values_of_torch() -> None:
    found = [check(TorchSource(one.network, one.example), TensorData(one.inputs(2))) for one in random_attention(1)]
    assert sum(found) > 5


def test_recurrent_networks_of_torch() -> None:
    data = inputs(2, length=5)
    assert check(TorchSource(enhancer("lstm", num_layers=1, bidirectional=True), data[0]), TensorData(data)) > 3


def test_what_comes_before_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source, data = nnet3("tdnnf_small")
    network = quantize(source, CONFIG, data)
    trunk = Branches(network, data)
    # Weights that are others, objects at least.
    others = [
        replace(network, layers={**network.layers, name: replace(layer)}) for name, layer in network.layers.items()
    ]
    places = [trunk.place(branch) for branch in others]
    assert places == sorted(places) and len(set(places)) == len(places)
    steps: list[int] = []
    step = AcousticPassage.step

    def counted(passage: AcousticPassage) -> None:
        steps.append(passage.place)
        step(passage)

    monkeypatch.setattr(AcousticPassage, "step", counted)
    for branch in others:
        trunk.outputs(branch)
    batches, end = len(list(data.calls(trunk.model))), len(trunk.model.graph.groups)
    assert batches > 1
    # What differs from the first step on is a run of its own.
    assert len(steps) == batches * (max(places) + sum(end - place for place in places if place > 0))
