"""Small test sets of mixtures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from kaldi_quant.frontends.separation.networks.known import STEMS, Kind
from kaldi_quant.frontends.signals.audio import read_audio
from tests.conftest import ROOT

SPEECH = Kind(nn.Identity, 8000)
MUSIC = Kind(nn.Identity, 1000, STEMS, True, 2)
_UTTERANCE = ROOT / "egs/keywords/data/sentences/espeak-boris-49.opus"


@dataclass(frozen=True)
class Mixture:
    """As the data of source separation has it."""

    name: str
    mixture: np.ndarray
    sources: np.ndarray


def speech(name: str = "a", samples: int = 8000) -> Mixture:
    """Two pieces of one speaker at once, each a second at 8 kHz."""
    wave = read_audio(_UTTERANCE, 8000)[6000 + 500 * len(name) :]
    sources = np.stack([wave[:samples], wave[4000 : 4000 + samples]])[:, None]
    return Mixture(name, sources.sum(0), sources)


def music(name: str = "track", samples: int = 3500) -> Mixture:
    """Noise for all stems, 3.5 seconds at 1 kHz."""
    sources = np.random.default_rng(len(name)).standard_normal((4, 2, samples)).astype(np.float32) * 0.1
    return Mixture(name, sources.sum(0), sources)


def nearly(mixture: Mixture, rest: float = 0.1) -> np.ndarray:
    """Its sources, with a share of the others in each."""
    return mixture.sources + np.float32(rest) * (mixture.mixture - mixture.sources)
