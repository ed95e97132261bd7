"""Two networks go through a calibration set together, and show what they would in whole runs."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.host import Data, Executable, Source
from kaldi_quant.quant.paired_moments import PairedSample
from kaldi_quant.quant.side_by_side import SideBySide
from kaldi_quant.quant.slots import Product, set_product, watched
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchSource
from tests.references import NNET3, load, model_file, read_archive
from tests.torchnn.random_networks import random_networks
from tests.torchnn.recurrent_networks import enhancer, inputs

OPTIONS = InferenceOptions(ChunkOptions(3))


def in_whole_runs(model: Executable, layer: str, data: Data) -> Tensor:
    """All that a layer reads, (rows, columns)."""
    seen: list[Tensor] = []
    with watched(model, {layer: lambda x: seen.append(x.detach().reshape(-1, x.shape[-1]).clone())}):
        data.run(model)
    return torch.cat(seen)


def assert_same(source: Source, data: Data, memory: int = 1 << 30) -> None:
    """Layer after layer, both networks show what whole runs do."""
    host = source.prepare(fold=True).complete()
    float_model, model = host.executable(), host.executable()
    together = SideBySide(float_model, model, data, memory)
    for layer in products(host.nodes):
        sample = PairedSample(limit=1 << 20)
        moments = together.moments(layer, sample)
        float_rows, rows = (in_whole_runs(each, layer, data) for each in (float_model, model))
        finite = torch.isfinite(torch.cat([float_rows, rows], 1)).all(1)
        assert moments.count == len(sample) == finite.sum() > 0
        for found, expected in ((sample.float_inputs, float_rows[finite]), (sample.inputs, rows[finite])):
            # A sample of all rows holds them in another order.
            assert torch.equal(found.sort(0).values, expected.sort(0).values), layer
        size = float(rows[finite].abs().max())
        torch.testing.assert_close(moments.mean, rows[finite].double().mean(0), rtol=0, atol=1e-4 * size)
        set_product(model, layer, Product(coarse(model, layer)))
    together.close()


def test_the_distance_so_far() -> None:
    nnet = load(model_file(NNET3 / "tdnnf_small")).nnet
    feats = list(read_archive(NNET3 / f"feats{nnet.input_dim()}.ark").items())[:1]
    data, source = UtteranceSet(feats, OPTIONS), Nnet3Source(nnet)
    host = source.prepare(fold=True).complete()
    float_model, model = host.executable(), host.executable()
    together = SideBySide(float_model, model, data)
    assert together.distance(host.distance) == 0.0
    first, *_, last = products(host.nodes)
    together.moments(first)
    for layer in (first, last):
        set_product(model, layer, Product(coarse(model, layer)))
        (reference,), (outputs,) = (dict(data.outputs(each)).values() for each in (float_model, model))
        expected = host.distance.sum(reference, outputs) / len(reference)
        assert together.distance(host.distance) == pytest.approx(expected, rel=1e-5) and expected > 0
    # What waits is where it was.
    together.moments(last)


def coarse(model: Executable, layer: str) -> Callable[[Tensor], Tensor]:
    """A product that rounds its results, so that later layers read something else."""
    product, bias = model.slot(layer).product, model.slot(layer).bias
    return lambda x: (product(x, bias) * 4).round() / 4


@pytest.mark.parametrize("name", ["tdnnf_small", "fast_lstmp", "resnet_bypasses", "ivector_utterance", "conv_usual"])
def test_nnet3(name: str) -> None:
    model = load(model_file(NNET3 / name))
    feats = [(key, rows[:40]) for key, rows in read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items()]
    # Batches of an utterance or two.
    data = UtteranceSet(feats, InferenceOptions(ChunkOptions(3), batch_seconds=0.9), lambda _: np.ones(10, np.float32))
    assert_same(Nnet3Source(model.nnet), data)


@pytest.mark.parametrize("memory", [0, 20_000])
def test_what_waits_on_disk_is_the_same(memory: int) -> None:
    model = load(model_file(NNET3 / "tdnnf_small"))
    feats = read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items()
    assert_same(
        Nnet3Source(model.nnet), UtteranceSet(feats, InferenceOptions(ChunkOptions(3), batch_seconds=0.5)), memory
    )


def test_rows_that_depend_on_nothing_are_left_out() -> None:
    # A mean over no frames is 0 / 0 before the first and after the last one, and no output depends on it.
    model = load(model_file(NNET3 / "stats_mean_count"))
    feats = read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items()
    float_model, other = AcousticModel(model.nnet), AcousticModel(model.nnet)
    # As a grid would, make numbers of what is none.
    other.taps["stats1-pooling-18-9"] = torch.nan_to_num
    sample = PairedSample()
    moments = SideBySide(float_model, other, UtteranceSet(feats, OPTIONS)).moments("tdnn2.affine", sample)
    assert sample.inputs.isfinite().all() and torch.equal(sample.inputs, sample.float_inputs)
    assert moments.covariance.isfinite().all()


def test_networks_of_torch() -> None:
    untraced = 0
    for found in random_networks(20, first=9000):
        source = TorchSource(found.network, found.example)
        untraced += bool(source.prepare(fold=True).region.reasons)
        assert_same(source, TensorData(found.inputs(3)), memory=found.seed % 2 * 3000)
    assert untraced > 0


def test_layers_that_are_used_again() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            for _ in range(3):
                x = x + torch.tanh(self.again(x))
            return self.last(x)

    torch.manual_seed(0)
    source, data = TorchSource(Shared(), torch.randn(5, 4)), TensorData([torch.randn(5, 4) for _ in range(3)])
    assert len(source.prepare(fold=True).executable().places("again")) == 3
    assert_same(source, data)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_networks_of_torch(kind: str) -> None:
    assert_same(TorchSource(enhancer(kind, bidirectional=True), inputs()[0]), TensorData(inputs()))


def test_each_layer_is_computed_once() -> None:
    model = load(model_file(NNET3 / "tdnnf_small"))
    feats = list(read_archive(NNET3 / f"feats{model.nnet.input_dim()}.ark").items())
    host = Nnet3Source(model.nnet).prepare(fold=True).complete()
    networks, layers = [host.executable(), host.executable()], products(host.nodes)
    calls = [Counter[str](), Counter[str]()]

    def counted(network: Executable, layer: str, counter: Counter[str]) -> Callable[[Tensor], Tensor]:
        product, bias = network.slot(layer).product, network.slot(layer).bias

        def compute(x: Tensor) -> Tensor:
            counter[layer] += 1
            return product(x, bias)

        return compute

    for network, counter in zip(networks, calls, strict=True):
        for layer in layers:
            set_product(network, layer, Product(counted(network, layer, counter)))
    together = SideBySide(*networks, UtteranceSet(feats, InferenceOptions(ChunkOptions(3), batch_seconds=0.5)))
    for layer in layers:
        together.moments(layer)
    batches = calls[0][layers[0]]
    assert batches > 1 and calls[0] == dict.fromkeys(layers, batches)
    # The last one has only to be fitted.
    assert calls[1] == dict.fromkeys(layers[:-1], batches)
