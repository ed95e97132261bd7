"""Small networks with encoders and decoders of all kinds, and how they run elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.frontends.separation.networks.known import Kind

torch.set_num_threads(1)

RATE = 8000


class Toy(nn.Module):
    """Filters, masks and a decoder, whose frames may be added up outside of it."""

    def __init__(self, channels: int = 1, sources: int = 2, linear: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.sources, self.channels, self.linear = sources, channels, linear
        self.encoder = nn.Conv1d(channels, 24, 8, 4, bias=bias)
        self.norm = nn.GroupNorm(1, 24)
        self.masks = nn.Conv1d(24, 24 * sources, 3, padding=1)
        if linear:
            self.decoder: nn.Module = nn.Linear(24, 8 * channels, bias=bias)
        else:
            self.decoder = nn.ConvTranspose1d(24, channels, 8, 4, bias=bias)

    def forward(self, mixture: Tensor) -> Tensor:
        features = self.encoder(mixture)
        masks = torch.relu(self.masks(self.norm(features))).unflatten(1, (self.sources, -1))
        masked = (masks * features.unsqueeze(1)).flatten(0, 1)
        if not self.linear:
            return self.decoder(masked).unflatten(0, (-1, self.sources))
        frames = self.decoder(masked.transpose(1, 2)).unflatten(2, (self.channels, 8)).transpose(1, 2)
        early = functional.pad(frames[..., :4], (0, 0, 0, 1))
        late = functional.pad(frames[..., 4:], (0, 0, 1, 0))
        return (early + late).flatten(2).unflatten(0, (-1, self.sources))


class Spectral(nn.Module):
    """Two branches: one of a normalised spectrum, in two dimensions, and one of the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([nn.Sequential(nn.Conv2d(2, 6, (4, 1), (4, 1)))])
        self.decoder = nn.ConvTranspose2d(6, 4, (4, 1), (4, 1))
        self.tencoder = nn.Conv1d(2, 12, 8, 4)
        self.tdecoder = nn.ConvTranspose1d(12, 4, 8, 4)

    def forward(self, mixture: Tensor) -> Tensor:
        planes = mixture.unflatten(2, (-1, 8)).transpose(2, 3)
        planes = planes / (1e-5 + planes.square().mean((1, 2, 3), keepdim=True).sqrt())
        spectral = self.decoder(torch.relu(self.encoder[0](planes))).transpose(2, 3).flatten(2)
        timed = self.tdecoder(torch.relu(self.tencoder(mixture)))
        return (spectral + timed).unflatten(1, (2, 2))


KIND = Kind(Toy, RATE)
STEREO = Kind(Toy, RATE, ("drums", "bass"), is_ordered=True, channels=2)
BRANCHES = Kind(
    Spectral,
    RATE,
    ("drums", "bass"),
    is_ordered=True,
    channels=2,
    encoders=("encoder.0.0", "tencoder"),
    decoders=("decoder", "tdecoder"),
)


def made(network: type[nn.Module] = Toy, **sizes: object) -> nn.Module:
    """A network of weights that are drawn, and do not depend on what was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return network(**sizes).eval()


def mixtures(number: int, channels: int = 1, seed: int = 0, samples: int = 400) -> list[Tensor]:
    """(2, channels, samples) each, the second signal being much softer than the first."""
    random = torch.Generator().manual_seed(seed)
    noise = [torch.randn(2, channels, samples, generator=random) for _ in range(number)]
    return [functional.avg_pool1d(x, 3, 1, 1) * torch.tensor([0.2, 0.002]).view(2, 1, 1) for x in noise]


def lost_db(found: Tensor, wanted: Tensor) -> float:
    """The error in dB below what is wanted."""
    found, wanted = found.detach(), wanted.detach()
    return float(20 * ((found - wanted).norm() / wanted.norm()).log10())


def check_files(quantized: Quantized, x: Tensor, folder: Path, exact: bool = True) -> None:
    """Saved, loaded and exported, a network gives what the integer reference does."""
    expected = quantized.network.model()(x).detach()
    kq.save(quantized, folder / "saved.safetensors")
    loaded = kq.load(folder / "saved.safetensors")
    assert torch.equal(loaded.network.model()(x), expected)
    kq.export(loaded, folder / "network.onnx")
    session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    (by_onnx,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    if exact:
        np.testing.assert_array_equal(by_onnx, expected.numpy())
    else:
        assert lost_db(torch.from_numpy(by_onnx), expected) < -60
