"""What the tests of recognisers share: a model, and audio."""

import wave
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.models import find_parts, open_model
from tests.test_vosk import vosk_folder

RATE = 16000


def samples(path: Path) -> np.ndarray:
    """The samples of a wav."""
    with wave.open(str(path)) as stream:
        assert stream.getframerate() == RATE
        return np.frombuffer(stream.readframes(stream.getnframes()), "<i2")


@pytest.fixture(scope="session")
def folder(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Vosk folder of the example's TDNN."""
    return vosk_folder(tmp_path_factory.mktemp("vosk"), example, example / "exp/chain/tdnn1a_sp/final.mdl")


@pytest.fixture(scope="session")
def model(folder: Path) -> Model:
    return open_model(find_parts(folder))


@pytest.fixture(scope="session")
def speech(example: Path) -> np.ndarray:
    """``u r six eight w``, 2.7 s."""
    return samples(example / "wav/test027-002.wav")


@pytest.fixture(scope="session")
def with_pauses(example: Path) -> np.ndarray:
    """Two utterances with noise of 1.5 s behind each."""
    noise = np.random.default_rng(1).normal(0, 20, int(1.5 * RATE)).astype(np.int16)
    first, second = (samples(example / f"wav/{name}.wav") for name in ("test000-000", "test027-002"))
    return np.concatenate([first, noise, second, noise])
