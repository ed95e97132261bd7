"""What separates recordings: networks in files of all kinds, recordings of any length; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kaldi_quant.api import files
from kaldi_quant.api.quantization import quantize
from kaldi_quant.errors import DataError, FormatError, ModelError, UsageError
from kaldi_quant.frontends.separation.chunks import Chunks
from kaldi_quant.frontends.separation.networks.known import NETWORKS, STEMS, Kind
from kaldi_quant.frontends.separation.separators import RECORD_KEY, Separator, open_separator
from kaldi_quant.frontends.separation.training.checkpoint import write_network
from kaldi_quant.metrics.speech import si_sdr

NAME = "conv-tasnet-small"
SIZES = {"filters": 16, "bottleneck": 8, "hidden": 8, "blocks": 2, "repeats": 1}


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, samples)).astype(np.float32) * 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network in float, in integers, and as ONNX."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    network = NETWORKS[NAME].build(**SIZES).eval()
    write_network(folder / "network.pth", NAME, network, {}, SIZES)
    quantized = quantize(network, "w8a8", calibration=[torch.from_numpy(noise(1600))[None]])
    files.save(quantized, folder / "named.safetensors", {RECORD_KEY: {"network": NAME}})
    files.save(quantized, folder / "unnamed.safetensors")
    files.export(quantized, folder / "network.onnx")
    example = torch.from_numpy(noise(1600))[None]
    files.export(quantized, folder / "fixed.onnx", example=example, dynamic_axes=False)
    return folder


def test_a_network_in_all_kinds_of_files(folder: Path) -> None:
    mixture = noise(2003)
    separator = open_separator("f", folder / "network.pth")
    in_float = separator.separate(mixture)
    assert in_float.dtype == np.float32 and in_float.shape == (2, 1, 2003) and separator.kind is NETWORKS[NAME]
    integers = open_separator("q", folder / "named.safetensors").separate(mixture)
    by_onnx = open_separator("o", folder / "network.onnx", NAME).separate(mixture)
    unnamed = open_separator("u", folder / "unnamed.safetensors", NAME).separate(mixture)
    np.testing.assert_array_equal(unnamed, integers)
    assert si_sdr(integers.ravel(), by_onnx.ravel()) > 60
    assert 10 < si_sdr(in_float.ravel(), integers.ravel()) < 60


def test_files_of_one_length_take_any(folder: Path) -> None:
    fixed = open_separator("x", folder / "fixed.onnx", NAME)
    assert fixed.samples == 1600
    whole = open_separator("o", folder / "network.onnx", NAME)
    one = noise(1600)
    assert si_sdr(whole.separate(one).ravel(), fixed.separate(one).ravel()) > 60
    assert fixed.separate(noise(5000)).shape == (2, 1, 5000) and fixed.separate(noise(70)).shape == (2, 1, 70)


@pytest.mark.parametrize("samples", [1, 7, 100, 1601])
def test_any_length(folder: Path, samples: int) -> None:
    found = open_separator("f", folder / "network.pth").separate(noise(samples))
    assert found.shape == (2, 1, samples) and np.isfinite(found).all()


class Halves(nn.Module):
    """Gives half of the mixture as each source, and remembers what it was called with."""

    def __init__(self, sources: int = 2) -> None:
        super().__init__()
        self.sources, self.peaks, self.lengths = sources, [], []

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        self.peaks.append(float(mixture.abs().max()))
        self.lengths.append(mixture.shape[-1])
        return torch.stack([mixture / 2] * self.sources, 1)


def test_peaks_are_brought_to_one_and_back() -> None:
    network = Halves()
    separator = Separator("h", Kind(Halves, 1000), network)
    mixture = noise(3000) * np.linspace(0.1, 1, 3000, dtype=np.float32)
    for chunks in (None, Chunks(0.5)):
        network.peaks.clear()
        found = separator.separate(mixture, chunks, normalize=True)
        np.testing.assert_allclose(found, np.stack([mixture / 2] * 2), rtol=0, atol=1e-7)
        assert network.peaks == pytest.approx([1.0] * len(network.peaks))
    assert not separator.separate(0 * mixture, normalize=True).any()
    separator.separate(mixture)
    assert network.peaks[-1] == float(np.abs(mixture).max())


def test_long_recordings_are_cut() -> None:
    network = Halves(4)
    separator = Separator("h", Kind(Halves, 1000, STEMS, True, 2), network)
    mixture = noise(3210, 2)
    found = separator.separate(mixture, Chunks(0.5, 0.5, "hann"))
    assert set(network.lengths) == {500} and len(network.lengths) == 12
    np.testing.assert_allclose(found, np.stack([mixture / 2] * 4), rtol=0, atol=1e-7)
    separator.separate(mixture[:, :400], Chunks(0.5))
    assert network.lengths[-1] == 400


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (noise(100, 2), "m separates recordings of one channel, but this one has 2 channels"),
        (noise(100)[0], r"m: expected a mixture of channels and samples, found the shape \(100,\)"),
        (noise(0), r"found the shape \(1, 0\)"),
        (noise(100) * np.nan, r"m: the mixture holds values that are not finite \(NaN or infinity\)"),
    ],
)
def test_mixtures_that_are_none(mixture: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Separator("m", Kind(Halves, 1000), Halves()).separate(mixture)
    with pytest.raises(DataError, match="m separates recordings of 2 channels, but this one has one channel"):
        Separator("m", Kind(Halves, 1000, STEMS, True, 2), Halves(4)).separate(noise(100))


def test_what_cannot_separate(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither it nor a cell\.json names its network; say so, as in \S+@NETWORK"):
        open_separator("o", folder / "network.onnx")
    with pytest.raises(UsageError, match="separation network 'unet' is not one of conv-tasnet"):
        open_separator("o", folder / "network.onnx", "unet")
    with pytest.raises(FormatError, match=r"expected a cell with network\.onnx or quantized\.safetensors"):
        open_separator("e", tmp_path)
    with pytest.raises(ModelError, match=r"m: expected the network to give \(1, 2, 1, 100\), found \(1, 3, 1, 100\)"):
        Separator("m", Kind(Halves, 1000), Halves(3)).separate(noise(100))
    (tmp_path / "a.txt").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="expected an integer model, or a file that ends with"):
        open_separator("b", tmp_path / "a.txt", NAME)
