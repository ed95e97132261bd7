"""Networks of music: sizes and names as they are published, signals of any length, modules that can be replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.networks.complex_channels import Analysis, Synthesis
from kaldi_quant.frontends.separation.networks.cross_transformer import (
    CrossTransformer,
    PlacesOfPlanes,
    PlacesOfSequences,
)
from kaldi_quant.frontends.separation.networks.htdemucs import HTDemucs
from kaldi_quant.frontends.separation.networks.known import NETWORKS

torch.set_num_threads(1)

NAMES = ("conv-tasnet-music", "htdemucs")
#: Those with which the checkpoint of demucs 4 that is called htdemucs was trained.
RELEASED = {"bottom_channels": 512, "dconv_mode": 3}
TINY: dict[str, dict[str, Any]] = {
    "conv-tasnet-music": {"filters": 16, "window": 8, "bottleneck": 8, "hidden": 12, "blocks": 2, "repeats": 1},
    "htdemucs": {
        "channels": 4,
        "nfft": 32,
        "depth": 2,
        "kernel_size": 4,
        "stride": 2,
        "dconv_comp": 2,
        "t_layers": 2,
        "t_heads": 2,
    },
}


def tiny(name: str, seed: int = 0, **more: Any) -> nn.Module:
    """A network whose scales are none that leave most of it out."""
    torch.manual_seed(seed)
    network = NETWORKS[name].build(**{**TINY[name], **more}).eval()
    with torch.no_grad():
        for value in network.parameters():
            if value.dim() == 1:
                value.add_(0.3 * torch.randn_like(value))
    return network


def built(name: str, **sizes: Any) -> nn.Module:
    """A network whose parameters have sizes alone."""
    with torch.device("meta"):
        return NETWORKS[name].build(**sizes)


@pytest.mark.parametrize(
    ("name", "sizes", "parameters"),
    [
        ("conv-tasnet-music", {}, 10_977_872),
        ("htdemucs", {}, 26_899_536),
        ("htdemucs", RELEASED, 41_984_456),
        ("conv-tasnet-music-small", {}, 75_160),
        ("htdemucs-small", {}, 105_088),
    ],
)
def test_networks_have_as_many_parameters_as_published(name: str, sizes: dict[str, Any], parameters: int) -> None:
    assert sum(value.numel() for value in built(name, **sizes).parameters()) == parameters


NAMED = {
    "encoder.0.conv.weight": (48, 4, 8, 1),
    "encoder.3.rewrite.bias": (768,),
    "encoder.3.dconv.layers.1.0.weight": (48, 384, 3),
    "encoder.0.dconv.layers.0.4.bias": (96,),
    "encoder.0.dconv.layers.0.6.scale": (48,),
    "tencoder.0.conv.weight": (48, 2, 8),
    "tencoder.3.dconv.layers.0.3.weight": (768, 48, 1),
    "decoder.0.rewrite.weight": (768, 384, 3, 3),
    "decoder.0.dconv.layers.1.6.scale": (384,),
    "decoder.3.conv_tr.weight": (48, 16, 8, 1),
    "tdecoder.3.conv_tr.weight": (48, 8, 8),
    "tdecoder.3.rewrite.weight": (96, 48, 3),
    "freq_emb.embedding.weight": (512, 48),
    "channel_upsampler.weight": (512, 384, 1),
    "channel_downsampler_t.weight": (384, 512, 1),
    "crosstransformer.norm_in.weight": (512,),
    "crosstransformer.norm_in_t.bias": (512,),
    "crosstransformer.layers.0.self_attn.in_proj_weight": (1536, 512),
    "crosstransformer.layers.4.norm_out.weight": (512,),
    "crosstransformer.layers.1.cross_attn.out_proj.bias": (512,),
    "crosstransformer.layers.1.norm3.weight": (512,),
    "crosstransformer.layers_t.3.linear1.weight": (2048, 512),
    "crosstransformer.layers_t.4.gamma_2.scale": (512,),
}


def test_parameters_are_named_as_in_checkpoints_of_demucs() -> None:
    found = {name: tuple(value.shape) for name, value in built("htdemucs", **RELEASED).state_dict().items()}
    assert {name: found[name] for name in NAMED} == NAMED
    assert len(found) == 533


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_sources_are_as_long_as_mixtures(name: str) -> None:
    network = tiny(name)
    for length in (400, 401, 333, 96, 21):
        found = network(torch.randn(2, 2, length))
        assert found.shape == (2, 4, 2, length)
        assert torch.isfinite(found).all()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_mixtures_of_a_minibatch_do_not_see_each_other(name: str) -> None:
    network, mixtures = tiny(name), torch.randn(3, 2, 300) * torch.tensor([0.1, 1, 10]).reshape(3, 1, 1)
    alone = torch.cat([network(mixture[None]) for mixture in mixtures])
    torch.testing.assert_close(network(mixtures), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_silence_gives_numbers_and_gradients(name: str) -> None:
    network = tiny(name).train()
    found = network(torch.cat([torch.zeros(1, 2, 200), torch.randn(1, 2, 200)]))
    assert torch.isfinite(found).all()
    found.square().mean().backward()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in network.parameters())


class Counted(nn.Module):
    """Another module in the place of one, called as it is."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x)


@torch.no_grad()
@pytest.mark.parametrize("name", [f"{name}{size}" for name in NAMES for size in ("", "-small")])
def test_what_reads_and_gives_signals_can_be_replaced(name: str) -> None:
    kind = NETWORKS[name]
    small = NETWORKS[f"{name.removesuffix('-small')}-small"].build().eval() if name.endswith("-small") else None
    network = small or kind.build(**({"channels": 8, "t_layers": 1} if name == "htdemucs" else TINY[name])).eval()
    mixture = torch.randn(1, 2, 4000)
    expected = network(mixture)
    replaced = []
    for path in (*kind.encoders, *kind.decoders):
        parent, _, own = path.rpartition(".")
        module = network.get_submodule(path)
        assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear)
        replaced.append(Counted(module))
        setattr(network.get_submodule(parent), own, replaced[-1])
    assert torch.equal(network(mixture), expected)
    assert [each.calls for each in replaced] == [1] * len(replaced)


@torch.no_grad()
def test_a_signal_comes_back_from_its_spectrum() -> None:
    analysis, synthesis = Analysis(64), Synthesis(64)
    for length in (640, 641, 703, 50, 17, 1):
        mixture = torch.randn(2, 2, length) + 0.3
        spectrum, wave, level, level_of_wave = analysis(mixture)
        assert spectrum.shape == (2, 4, 32, -(-length // 16)) and wave.shape == mixture.shape
        assert spectrum.mean((1, 2, 3)).abs().max() < 1e-5
        nothing = -(level_of_wave.mean / level_of_wave.deviation).expand_as(mixture)
        sources = synthesis(torch.stack([spectrum, spectrum], 1), torch.stack([nothing, wave], 1), level, level_of_wave)
        # But for the highest bin, which is left out, and what keeps the deviation from zero.
        if length > 100:
            error = sources[:, 0] - mixture
            assert error.square().mean() < 0.05 * mixture.square().mean()
        torch.testing.assert_close(sources[:, 1] - sources[:, 0], mixture, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_low_tones_come_back_as_they_were() -> None:
    time = torch.arange(1000) / 1000
    mixture = torch.stack([(2 * torch.pi * 50 * time).sin(), (2 * torch.pi * 120 * time).cos()])[None]
    spectrum, wave, level, level_of_wave = Analysis(64)(mixture)
    found = Synthesis(64)(spectrum.unsqueeze(1), torch.zeros_like(wave).unsqueeze(1), level, level_of_wave)
    expected = mixture + level_of_wave.mean
    assert (found[0, 0] - expected[0]).abs()[:, 32:-32].max() < 2e-3


@torch.no_grad()
def test_the_core_is_what_lies_between_the_transforms() -> None:
    network = tiny("htdemucs", bottom_channels=8, dconv_mode=3)
    assert isinstance(network, HTDemucs)
    core, mixture = network.core(), torch.randn(2, 2, 301)
    spectrum, wave, *levels = network.analysis(mixture)
    assert torch.equal(network.synthesis(*core(spectrum, wave), *levels), network(mixture))
    assert set(core.state_dict()) == set(network.state_dict())
    assert core.encoder[0] is network.encoder[0] and not core.training


def test_places_are_told_by_waves_of_many_periods() -> None:
    one = PlacesOfSequences(6)(torch.zeros(1, 5, 6))[0]
    torch.testing.assert_close(one[3, 1], torch.tensor(3 / 10000**0.5).cos())
    torch.testing.assert_close(one[3, 5], torch.tensor(3 / 10000).sin())
    plane = PlacesOfPlanes(8)(torch.zeros(2, 5, 3, 8))
    assert torch.equal(plane[0], plane[1])
    torch.testing.assert_close(plane[0, 4, 1, 2], torch.tensor(4 / 10000**0.5).sin())
    torch.testing.assert_close(plane[0, 4, 1, 5], torch.tensor(1.0).cos())


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: HTDemucs(nfft=500), "transforms of 500 points"),
        (lambda: HTDemucs(kernel_size=8, stride=2), "kernels of 8 and strides of 2"),
        (lambda: HTDemucs(nfft=512, depth=4), "4 layers"),
        (lambda: HTDemucs(stride=3, kernel_size=6), "an even stride"),
        (lambda: HTDemucs(channels=4), "branches of 4 / 8 channels"),
        (lambda: CrossTransformer(30), "30 channels and 8 heads"),
        (lambda: CrossTransformer(20, heads=3), "20 channels and 3 heads"),
        (lambda: NETWORKS["conv-tasnet-music"].build(window=21), "found 21 samples"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(build: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build()


@torch.no_grad()
@pytest.mark.parametrize(
    ("more", "length"),
    [({}, 16000), ({}, 8001), ({}, 513), ({}, 90), ({"bottom_channels": 32, "dconv_mode": 3}, 8001)],
)
def test_outputs_are_those_of_demucs(more: dict[str, Any], length: int) -> None:
    demucs = pytest.importorskip("demucs.htdemucs", reason="demucs is not installed: its outputs are not compared")
    sizes = {"channels": 12, "nfft": 512, "depth": 3, "t_layers": 3, "t_heads": 4, **more}
    torch.manual_seed(0)
    theirs = demucs.HTDemucs(["drums", "bass", "other", "vocals"], use_train_segment=False, **sizes).eval()
    for value in theirs.parameters():
        value.add_(0.1 * torch.randn_like(value) * (value.dim() == 1))
    ours = HTDemucs(**sizes).eval()
    ours.load_state_dict(theirs.state_dict())
    mixture = torch.randn(2, 2, length)
    expected = theirs(mixture)
    assert (ours(mixture) - expected).abs().max() < 1e-5 * expected.abs().max()
