"""Synthetic recordings: the same from the same seed, of the length and level asked for; speakers of one split each."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, MissingDependencyError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.keywords.synthetic.clips import Conditions, make_clip
from kaldi_quant.frontends.keywords.synthetic.make import make_data
from kaldi_quant.frontends.signals.level import rms, trim
from kaldi_quant.frontends.synthetic.voices import speakers

RATE = 16000
WORD = np.sin(np.arange(6000) / 7).astype(np.float32)


def test_clips_follow_from_their_seed() -> None:
    def clip(seed: int) -> np.ndarray:
        return make_clip(WORD, RATE, 320, Conditions(), np.random.default_rng(seed), [WORD])

    for seed in range(12):
        made = clip(seed)
        assert np.array_equal(made, clip(seed)) and len(made) % 320 == 0
        assert 0.7 * RATE - 320 < len(made) < 0.9 * RATE + 320 and -28.01 < 20 * np.log10(rms(made)) < -19.99
    assert len({clip(seed).tobytes() for seed in range(12)}) == 12


def test_silence_at_the_ends_is_taken_off() -> None:
    padded = np.concatenate([np.zeros(50), 0.001 * np.ones(9), [1.0, 0.0, -0.5], np.zeros(70)])
    assert trim(padded).tolist() == [1.0, 0.0, -0.5]
    with pytest.raises(DataError, match="silence"):
        trim(np.zeros(10))


def test_no_voice_is_in_two_splits() -> None:
    found = speakers()
    assert len({one.name for one in found}) == len(found)
    splits: dict[str, set[str]] = {}
    for one in found:
        splits.setdefault(one.voice.rpartition("+")[2], set()).add(one.split)
    assert all(len(where) == 1 for where in splits.values())


def test_without_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="needs the program espeak-ng: apt-get install espeak-ng flite"):
        make_data(tmp_path, 1)
