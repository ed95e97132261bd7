"""Waves that are enhanced block by block, beside whole recordings."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

import kaldi_quant as kq
from kaldi_quant.errors import DataError, FormatError, ModelError, UsageError
from kaldi_quant.frontends.enhancement.networks.crn import CRN
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS, Around
from kaldi_quant.frontends.enhancement.networks.past import States
from kaldi_quant.frontends.enhancement.streaming import (
    EnhancementStream,
    FrameNetwork,
    states_of,
    streaming,
    write_onnx_frame,
)
from kaldi_quant.frontends.keywords.suppression.quantization import with_recurrent_ranges
from kaldi_quant.frontends.signals.transform_streams import SpectrumStream, WaveStream, delay_of
from kaldi_quant.frontends.signals.transforms import TRANSFORMS, CentredTransform, HammingTransform
from tests.frontends.enhancement.small_networks import BINS, STREAMING, frames_axis, lively, magnitudes

FFT = 2 * (BINS - 1)
SMALL = {"hamming-320": HammingTransform(FFT, FFT // 2), "hann-512": CentredTransform(FFT, FFT // 3, 3 * FFT // 4)}


@pytest.fixture(autouse=True)
def small_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, transform in SMALL.items():
        monkeypatch.setitem(TRANSFORMS._entries, name, transform)


def noise(samples: int) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", ["hamming-320", "hann-512"])
def test_signals_come_back_late(name: str) -> None:
    transform, wave = SMALL[name], noise(200)
    spectra, waves = SpectrumStream(transform), WaveStream(transform)
    delay, whole = delay_of(transform), transform.spectrum(wave[None])
    blocks = torch.cat([wave, wave.new_zeros(-len(wave) % transform.hop + 10 * transform.hop)]).split(transform.hop)
    frames = [spectra.push(block) for block in blocks]
    found = torch.cat([waves.push(frame) for frame in frames])
    torch.testing.assert_close(found[delay : delay + len(wave)], wave)
    assert not found[:delay].any()
    there = torch.cat([frame for frame in frames if frame is not None], 1)
    torch.testing.assert_close(there[:, : whole.shape[1]].abs(), whole.abs())


def test_the_published_delays() -> None:
    assert delay_of(HammingTransform()) == 160
    assert delay_of(CentredTransform()) == 360


@torch.no_grad()
@pytest.mark.parametrize("name", STREAMING)
def test_streams_of_float_networks(name: str) -> None:
    around, network, wave = NETWORKS[name].around, lively(name), noise(150)
    stream = EnhancementStream(around, network)
    expected = around.enhance(network, wave[None])[0]
    # The last frame of librosa's transform has none behind it.
    until = len(wave) if around.transform == "hamming-320" else len(wave) - around.stft.window
    torch.testing.assert_close(stream.enhance(wave)[:until], expected[:until], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "recurrent_ranges"),
    [
        ("crn", "static"),
        ("crn-100k", "dynamic"),
        ("tcn-100k", "static"),
        ("stft-tcnn-causal", "static"),
        ("conv-lstm", "static"),
        ("conv-lstm-decomposed", "static"),
    ],
)
def test_streams_in_integers(name: str, recurrent_ranges: str, tmp_path: Path) -> None:
    kind, wave = NETWORKS[name], noise(150)
    config = with_recurrent_ranges("w4a8", recurrent_ranges)
    quantized = kq.quantize(lively(name), config, calibration=[magnitudes(name, 9, seed=seed) for seed in range(2)])
    assert not quantized.float_layers
    model, network = quantized.network.model(), lively(name, seed=7)
    inputs, axis = kind.around.inputs(kind.around.stft.spectrum(wave[None])), frames_axis(name)
    stream = streaming(quantized, network)
    path = write_onnx_frame(stream, network, kind.around, tmp_path / "network_fixed.onnx")
    expected, last = model(inputs), stream.network.model()(inputs, network.states())[1]
    ways = [FrameNetwork.in_integers(stream, network), FrameNetwork.of_onnx(path)]
    if find_spec("numba") is not None:
        ways.append(FrameNetwork(kq.compile(stream), states_of(network)))
    for found in ways:
        states, outputs = found.states, []
        for frame in inputs.split(1, axis):
            output, states = found.run(frame, states)
            outputs.append(output)
        # Integers are the same; masks, and the steps of LSTMs taken apart, come out of functions in float.
        beside = 1e-6 if name == "conv-lstm-decomposed" else 0
        torch.testing.assert_close(states, last, rtol=0, atol=beside)
        torch.testing.assert_close(torch.cat(outputs, axis), expected, rtol=1e-6, atol=1e-6)
    if name == "tcn-100k":
        enhanced = EnhancementStream(kind, found).enhance(wave)
        torch.testing.assert_close(enhanced, kind.around.enhance(model, wave[None])[0], rtol=0, atol=1e-5)


def test_what_takes_states_already_stays() -> None:
    network = lively("tcn-100k")
    calls = [(magnitudes("tcn-100k", 9, seed=seed), network.states()) for seed in range(2)]
    quantized = kq.quantize(kq.TorchNetwork(network, output=0), "w8a8", calibration=calls)
    assert streaming(quantized, network) is quantized


def test_blocks_are_as_long_as_a_hop() -> None:
    stream = EnhancementStream(NETWORKS["crn-100k"], lively("crn-100k"))
    with pytest.raises(DataError, match="a block of 16 samples"):
        stream.push(torch.zeros(15))


class Forgetful(CRN):
    def forward(self, magnitude: Tensor, states: States | None = None) -> Tensor | tuple[Tensor, States]:
        return super().forward(magnitude, states and tuple(state * 0 for state in states))


def test_what_does_not_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose a causal one"):
        EnhancementStream(NETWORKS["stft-tcnn"], lively("stft-tcnn"))
    with pytest.raises(UsageError, match="does not stream"):
        FrameNetwork.of(torch.nn.Linear(2, 2))
    network = lively("crn-100k")
    quantized = kq.quantize(network, "w8a8", calibration=[magnitudes("crn-100k", 9)])
    path = kq.export(quantized, tmp_path / "network.onnx")
    with pytest.raises(FormatError, match="does not take and give states"):
        FrameNetwork.of_onnx(path)
    with pytest.raises(ModelError, match="is not the one that was quantized"):
        streaming(quantized, lively("crn-100k", mask=False))
    with pytest.raises(ModelError, match="something else than for a whole recording"):
        streaming(quantized, Forgetful(BINS, channels=(2, 3), decoder=(2, 1)).eval())


def test_waves_and_masks_of_other_names() -> None:
    around = replace(Around(), output="magnitude")
    assert EnhancementStream(around, lively("crn")).delay == SMALL["hamming-320"].hop
