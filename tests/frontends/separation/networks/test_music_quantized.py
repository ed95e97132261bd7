"""Networks of music in integers: all products, from the saved file and in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

import kaldi_quant as kq
from kaldi_quant.frontends.separation.networks.htdemucs import HTDemucs
from kaldi_quant.frontends.separation.networks.without_transforms import AroundCore, for_onnx
from kaldi_quant.torchnn.onnx.file import onnx_graph
from tests.frontends.separation.networks.test_music import tiny
from tests.torchnn.onnx_runs import assert_integer_products, assert_same, run

torch.set_num_threads(1)


def mixtures(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise_of(found: Tensor, expected: Tensor) -> float:
    """The share of what differs in the energy."""
    return float((found - expected).square().sum() / expected.square().sum())


@torch.no_grad()
def test_conv_tasnet_is_of_integers_for_any_length(tmp_path: Path) -> None:
    network = tiny("conv-tasnet-music")
    quantized = kq.quantize(network, "w8a8", calibration=[mixtures(seed, 2, 2, 400) for seed in range(2)])
    assert not quantized.float_layers and not quantized.float_matmuls
    kq.save(quantized, tmp_path / "q.safetensors")
    loaded = kq.load(tmp_path / "q.safetensors")
    model, reference = quantized.network.model(), loaded.network.model()
    graph = onnx_graph(loaded.network, mixtures(0, 1, 2, 400))
    assert_integer_products(graph)
    assert graph.inputs == {"mixture": ("batch", 2, "mixture.2")}
    for x in (mixtures(3, 2, 2, 400), mixtures(4, 1, 2, 733)):
        assert torch.equal(reference(x), model(x))
        assert noise_of(model(x), network(x)) < 0.02
        assert assert_same(loaded.network, graph, x) > 0


@torch.no_grad()
def test_htdemucs_is_of_integers_between_its_transforms(tmp_path: Path) -> None:
    network = tiny("htdemucs", bottom_channels=8, dconv_mode=3, dconv_depth=1)
    assert isinstance(network, HTDemucs)
    quantized = kq.quantize(network, "w8a8", calibration=[mixtures(seed, 2, 2, 300) for seed in range(2)])
    assert not quantized.float_layers and not quantized.float_matmuls
    kq.save(quantized, tmp_path / "q.safetensors")
    loaded = kq.load(tmp_path / "q.safetensors")
    model, reference = quantized.network.model(), loaded.network.model()
    example = network.analysis(mixtures(0, 1, 2, 300))[:2]
    core = for_onnx(loaded, network)
    assert not core.float_layers and not core.float_matmuls
    graph = onnx_graph(core.network, example)
    assert_integer_products(graph)
    for x in (mixtures(3, 2, 2, 300), mixtures(4, 1, 2, 433)):
        expected = model(x)
        assert torch.equal(reference(x), expected)
        assert noise_of(expected, network(x)) < 0.02
        spectrum, wave = network.analysis(x)[:2]
        assert torch.equal(AroundCore(core.network.model(), 32)(x), expected)
        assert assert_same(core.network, graph, spectrum, wave) > 0
    assert torch.isfinite(reference(torch.zeros(1, 2, 300))).all()


@torch.no_grad()
def test_the_core_alone_is_quantized_saved_and_exported(tmp_path: Path) -> None:
    network = tiny("htdemucs", t_layers=1, dconv_depth=1)
    assert isinstance(network, HTDemucs)
    core, calls = network.core(), [network.analysis(mixtures(seed, 1, 2, 240))[:2] for seed in range(2)]
    quantized = kq.quantize(kq.TorchNetwork(core, output=0), "w8a8", calibration=calls)
    assert not quantized.float_layers and not quantized.float_matmuls
    kq.save(quantized, tmp_path / "q.safetensors")
    loaded = kq.load(tmp_path / "q.safetensors")
    spectrum, wave = calls[0]
    sizes = {"spectrum": tuple(spectrum.shape), "wave": tuple(wave.shape)}
    kq.export(loaded, tmp_path / "q.onnx", inputs=sizes, outputs=["spectra", "waves"])
    found = run(onnx.load(tmp_path / "q.onnx"), spectrum, wave)
    expected = loaded.network.model()(spectrum, wave)
    # Functions in float between grids may turn a few integers by one.
    for name, one in zip(("spectra", "waves"), expected, strict=True):
        assert noise_of(torch.from_numpy(found[name]), one) < 1e-3
    assert noise_of(expected[0], core(spectrum, wave)[0]) < 0.02


class Louder(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, mixture: Tensor) -> Tensor:
        return self.network(mixture * 2)


@torch.no_grad()
def test_the_core_is_found_within_other_modules() -> None:
    network, x = Louder(tiny("htdemucs", t_layers=1, dconv_depth=1)), mixtures(3, 1, 2, 240)
    quantized = kq.quantize(network.eval(), "w8a8", calibration=[mixtures(seed, 1, 2, 240) for seed in range(2)])
    core = for_onnx(quantized)
    assert torch.equal(AroundCore(core.network.model(), 32)(x * 2), quantized.network.model()(x))


def test_networks_without_transforms_are_written_as_they_are() -> None:
    quantized = kq.quantize(nn.Conv1d(2, 3, 1), "w8a8", calibration=[mixtures(0, 1, 2, 9)])
    assert for_onnx(quantized) is quantized
