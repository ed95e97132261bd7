"""MUSDB18-HQ: segments and whole tracks, normalised; what becomes development; what is wrong with a tree."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

import soundfile

from kaldi_quant.frontends.separation.data import ReadOptions, SeparationSet, TrainingBatches
from kaldi_quant.frontends.separation.data import open_separation_data as opened
from kaldi_quant.frontends.separation.data.musdb import VALIDATION
from kaldi_quant.frontends.separation.networks.known import STEMS
from tests.frontends.separation.data.toy_sets import MUSIC, RATE, SPEECH, sound, track, write

LENGTHS = {"a": 2000, "b": 700, "c": 1500}


def tree(folder: Path, rate: int = RATE) -> Path:
    for seed, (name, samples) in enumerate(LENGTHS.items()):
        track(folder / "train" / name, seed, samples, rate)
    track(folder / "test" / "t", 9, 1200, rate)
    return folder


def read(folder: Path, **options: object) -> SeparationSet:
    settings = {"seconds": 0.1, "validation": ("b",), **options}
    return opened(folder, MUSIC, options=ReadOptions(**settings))  # type: ignore[arg-type]


def wave(folder: Path, name: str) -> np.ndarray:
    return soundfile.read(folder / f"{name}.wav", dtype="float32")[0].T


def test_a_tree_is_read(tmp_path: Path) -> None:
    data = read(tree(tmp_path), stride=0.05)
    assert (data.name, data.rate, data.channels, data.sources) == ("musdb", RATE, 2, STEMS) and data.is_normalized
    # Of 2000 samples the segments of 800 begin at 0, 400, 800 and 1200; of 1500 at 0, 400 and 800.
    assert (len(data.train), len(data.dev), len(data.test)) == (7, 1, 1)
    whole = wave(tmp_path / "test/t", "mixture")
    mean, deviation = whole.mean(), whole.mean(axis=0).std()
    assert data.test[0].mixture == pytest.approx((whole - mean) / deviation, abs=1e-4)
    assert data.test[0].sources[1] == pytest.approx((wave(tmp_path / "test/t", "bass") - mean) / deviation, abs=1e-4)
    assert [mixture.name for mixture in data.dev] == ["b"] and data.dev[0].samples == 700
    segment = data.train.item(5, 3)
    assert (segment.name, segment.samples, segment.sources.shape) == ("c", 800, (4, 2, 800))
    facts = json.loads((tmp_path / "musdb.json").read_text())["c"]
    part = wave(tmp_path / "train/c", "vocals")[:, 400:1200]
    assert segment.sources[3] == pytest.approx((part - facts["mean"]) / facts["std"], abs=1e-4)
    summed = sum(wave(tmp_path / "train/c", stem)[:, 400:1200] for stem in STEMS)
    assert segment.mixture == pytest.approx((summed - facts["mean"]) / facts["std"], abs=1e-4)
    assert data.train.item(6, 0).samples == 700
    batches = TrainingBatches(data.train, batch_size=3, seconds=0.1, rate=data.rate)
    assert [mixture.shape for mixture, _ in batches.minibatches(0)] == [(3, 2, 800), (3, 2, 800), (1, 2, 800)]


def test_facts_are_written_once_and_taken_from_the_file(tmp_path: Path) -> None:
    folder = tree(tmp_path)
    read(folder)
    facts = json.loads((folder / "musdb.json").read_text())
    assert sorted(facts) == ["a", "b", "c"]
    assert sorted(facts["a"]) == ["length", "mean", "samplerate", "std"] and facts["a"]["length"] == 2000
    facts["a"]["std"] *= 2
    (folder / "other.json").write_text(json.dumps(facts))
    doubled, plain = (read(folder, metadata=name).train.item(0, 0) for name in ("other.json", "musdb.json"))
    assert np.abs(doubled.mixture).max() == pytest.approx(np.abs(plain.mixture).max() / 2, rel=1e-4)
    # What no longer fits its track is measured again.
    facts["a"]["length"] = 5
    (folder / "other.json").write_text(json.dumps(facts))
    assert np.array_equal(read(folder, metadata="other.json").train.item(0, 0).mixture, plain.mixture)
    assert json.loads((folder / "other.json").read_text())["a"]["length"] == 2000


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    data = read(tree(tmp_path, 2 * RATE))
    assert (data.test[0].samples, data.dev[0].samples, data.train.item(0, 0).samples) == (600, 350, 800)
    assert len(data.train) == 3


def test_validation_is_official_or_a_share(tmp_path: Path) -> None:
    folder = tree(tmp_path)
    names = [[mixture.name for mixture in read(folder, validation=(), seed=seed).dev] for seed in (0, 0, 1, 2, 3)]
    assert names[0] == names[1] and {len(found) for found in names} == {1} and len({found[0] for found in names}) > 1
    assert len(read(folder, validation=(), validation_share=0.7).dev) == 2
    for name in VALIDATION:
        track(folder / "train" / name, 5, 900)
    assert {mixture.name for mixture in read(folder, validation=()).dev} == set(VALIDATION)
    with pytest.raises(DataError, match="train lacks the tracks for validation d, e"):
        read(folder, validation=("e", "a", "d"))


def test_a_test_alone(tmp_path: Path) -> None:
    track(tmp_path / "test" / "t", 9, 1200)
    data = read(tmp_path, validation=())
    assert (len(data.train), len(data.dev), len(data.test)) == (0, 0, 1)


def test_digests_tell_audio_and_options(tmp_path: Path) -> None:
    folder = tree(tmp_path)
    one = read(folder)
    digests = [one.train.digest(), one.dev.digest(), one.test.digest(), read(folder, stride=0.01).train.digest()]
    assert read(folder).train.digest() == one.train.digest()
    write(folder / "train/a/vocals.wav", sound(1, 2000, 2))
    digests.append(read(folder).train.digest())
    assert len(set(digests)) == 5


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "stem": (
        lambda folder: (folder / "train/a/bass.wav").unlink(),
        "the track .*train/a lacks bass.wav: expected mixture, drums, bass, other, vocals",
    ),
    "mixture": (lambda folder: (folder / "test/t/mixture.wav").unlink(), "the track .*test/t lacks mixture.wav"),
    "length": (
        lambda folder: write(folder / "train/a/other.wav", sound(1, 1900, 2)),
        "a/mixture.wav and .*other.wav differ in length: 2000 and 1900 samples",
    ),
    "rate": (
        lambda folder: write(folder / "train/a/other.wav", sound(1, 2000, 2), 16000),
        "a/mixture.wav and .*other.wav differ in rate: 8000 and 16000",
    ),
    "channels": (
        lambda folder: write(folder / "train/a/drums.wav", sound(1, 2000, 1)),
        "a/drums.wav has 1 channels, expected 2",
    ),
    "empty": (
        lambda folder: write(folder / "train/a/mixture.wav", np.zeros((0, 2))),
        "a/mixture.wav is empty, it has 0 samples",
    ),
    "NaN": (
        lambda folder: write(folder / "train/a/drums.wav", np.full((2000, 2), np.nan)),
        "a/drums.wav has samples that are not finite",
    ),
    "facts": (
        lambda folder: (folder / "musdb.json").write_text('{"a": {"length": 3}}'),
        "musdb.json does not have length, mean, std and samplerate of tracks by name",
    ),
    "deviation": (
        lambda folder: (folder / "musdb.json").write_text(
            '{"a": {"length": 3, "mean": 0, "std": 0, "samplerate": 8000}}'
        ),
        "by name: a mean of 0.0 and a deviation of 0.0",
    ),
    "no JSON": (lambda folder: (folder / "musdb.json").write_text("none"), "musdb.json does not have length"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_told(tmp_path: Path, what: str) -> None:
    folder = tree(tmp_path)
    breaks, message = BROKEN[what]
    breaks(folder)
    with pytest.raises(DataError, match=message):
        read(folder).train.item(0, 0)


def test_nothing_is_long_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train: none of its 2 tracks is 0.5 s long or longer"):
        read(tree(tmp_path), seconds=0.5)
    with pytest.raises(UsageError, match="has stems of music, but the network separates speakers"):
        opened(tmp_path, SPEECH)
    with pytest.raises(DataError, match="has no tracks: expected folders train and test"):
        (tmp_path / "none").mkdir()
        opened(tmp_path / "none", MUSIC, "musdb")
