"""Small test sets of noisy speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.frontends.signals.audio import read_audio
from tests.conftest import ROOT

RATE = 16000
SPEECH = ROOT / "egs/keywords/data/sentences/espeak-boris-49.opus"


@dataclass(frozen=True)
class Pair:
    """As the data of speech enhancement has it."""

    name: str
    noisy: np.ndarray
    clean: np.ndarray
    noise: str = ""
    snr: float | None = None


def noisy_pair(name: str, noise: str, snr: float, start: int = 0, samples: int = 16000) -> Pair:
    """A second of speech with white noise, whatever the noise is called."""
    clean = read_audio(SPEECH, RATE)[12000 + start : 12000 + start + samples]
    hiss = np.random.default_rng(len(name)).standard_normal(samples).astype(np.float32)
    hiss *= float(np.sqrt(np.mean(clean**2) / np.mean(hiss**2))) * 10 ** (-snr / 20)
    return Pair(name, clean + hiss, clean, noise, snr)


def pairs() -> list[Pair]:
    """Two noises at two ratios."""
    return [
        noisy_pair(f"{noise}-{snr}", noise, snr, 800 * place)
        for place, (noise, snr) in enumerate([("hum", 0.0), ("hum", 10.0), ("babble", 0.0), ("babble", 10.0)])
    ]
