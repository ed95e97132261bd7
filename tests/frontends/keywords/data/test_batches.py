"""Batches: rates, lengths, order, and recordings that cannot be used."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.errors import DataError, UsageError

soundfile = pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.keywords.data import Recording, load_batches, read_keywords  # noqa: E402

ROOT = Path(__file__).resolve().parents[4]


def recording(folder: Path, name: str, wave: np.ndarray, rate: int = 8000, label: int = 0, **part: int) -> Recording:
    path = folder / f"{name}.wav"
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return Recording(path, name, label, "somebody", **part)


def several(folder: Path, number: int) -> list[Recording]:
    return [recording(folder, str(place), np.full(100, place / 100), label=place) for place in range(number)]


def test_padding_and_cropping(tmp_path: Path) -> None:
    ramp = np.arange(1, 11) / 100
    found = [recording(tmp_path, "short", ramp[:3], label=4), recording(tmp_path, "long", ramp, label=1)]
    (batch,) = load_batches(found, sample_rate=8000, batch_size=5, seconds=6 / 8000)
    assert batch.waves.shape == (2, 1, 6) and batch.waves.dtype == torch.float32
    assert batch.waves[0, 0].tolist() == pytest.approx([0.01, 0.02, 0.03, 0, 0, 0])
    assert batch.waves[1, 0].tolist() == pytest.approx([0.03, 0.04, 0.05, 0.06, 0.07, 0.08])
    assert (batch.lengths.tolist(), batch.labels.tolist(), batch.names) == ([3, 6], [4, 1], ("short", "long"))
    (batch,) = load_batches(found, sample_rate=8000, batch_size=5, seconds=None)
    assert batch.waves.shape == (2, 1, 10) and batch.lengths.tolist() == [3, 10]


def test_rates_channels_and_parts(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    stereo = recording(tmp_path, "stereo", np.stack([tone, np.zeros(16000)], axis=1), 16000)
    part = recording(tmp_path, "part", np.arange(8000) / 8000, start=100, samples=50)
    (batch,) = load_batches([stereo, part], sample_rate=8000, batch_size=2)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert batch.waves[0, 0, 200:-200].numpy() == pytest.approx(expected[200:-200], abs=1e-3)
    assert batch.lengths[1] == 50 and batch.waves[1, 0, :50].numpy() == pytest.approx(np.arange(100, 150) / 8000)


def test_order(tmp_path: Path) -> None:
    found = several(tmp_path, 7)
    plain = load_batches(found, sample_rate=8000, batch_size=3)
    assert [batch.labels.tolist() for batch in plain] == [[0, 1, 2], [3, 4, 5], [6]] and len(plain) == 3

    def order(batches: object) -> list[int]:
        return [label for batch in batches for label in batch.labels.tolist()]  # type: ignore[attr-defined]

    one, other = (load_batches(found, sample_rate=8000, batch_size=3, seed=seed) for seed in (5, 5))
    first, second = order(one), order(one)
    assert sorted(first) == sorted(second) == list(range(7)) and first != second
    assert [order(other), order(other)] == [first, second]
    other.passes = 0
    assert order(other) == first


def test_bad_recordings_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = several(tmp_path, 4)
    empty = recording(tmp_path, "empty", np.zeros(0))
    nan = recording(tmp_path, "nan", np.array([0.0, np.nan]))
    (tmp_path / "text.wav").write_text("no audio")
    text = Recording(tmp_path / "text.wav", "text", 0, "somebody")
    gone = Recording(tmp_path / "gone.wav", "gone", 0, "somebody")
    short = Recording(good[0].path, "beyond", 0, "somebody", 90, 20)
    batches = load_batches([empty, *good, nan, text, gone, short], sample_rate=8000, batch_size=4, max_bad_share=0.6)
    with caplog.at_level(logging.WARNING):
        assert [batch.names for batch in batches] == [("0", "1", "2", "3")] and len(batches) == 1
    said = "\n".join(caplog.messages)
    for name, reason in (
        ("empty", "is empty"),
        ("nan", "not finite"),
        ("text", "cannot be read as audio"),
        ("gone", "does not exist"),
        ("beyond", "has 100 samples, but those from 90 to 110 are wanted"),
    ):
        assert f"leaving out utterance {name}: " in said and reason in said
    caplog.clear()
    assert len(list(batches)) == 1 and not caplog.messages
    with pytest.raises(DataError, match="5 of 9 utterances could not be used"):
        list(load_batches(batches.recordings, sample_rate=8000, batch_size=4))


def test_what_is_asked_for_must_be_positive(tmp_path: Path) -> None:
    for wrong in ({"sample_rate": 0}, {"batch_size": -1}, {"seconds": 0.0}):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))} must be above 0"):
            load_batches([], **{"sample_rate": 8000, "batch_size": 1, **wrong})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no recordings"):
        list(load_batches([], sample_rate=8000, batch_size=1))


def test_the_embedded_recordings_are_read() -> None:
    found = read_keywords(ROOT / "egs/keywords/data")
    (batch,) = load_batches(found.test[:40], sample_rate=8000, batch_size=40)
    assert batch.waves.shape == (40, 1, 8000)
    assert batch.lengths.min() >= 5600 and batch.lengths.max() <= 7200
    levels = [
        float(wave[0, :length].square().mean().sqrt()) for wave, length in zip(batch.waves, batch.lengths, strict=True)
    ]
    assert min(levels) > 0.02 and max(levels) < 0.12
