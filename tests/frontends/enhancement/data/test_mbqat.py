"""MBQAT's raw files and HDF5 files: crops and pairs, and what is wrong with them."""

import builtins
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, MissingDependencyError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("h5py", reason="KALDI_QUANT_EXTRAS=enhancement bash tests/run.sh")

import h5py

from kaldi_quant.frontends.enhancement.data import EnhancementSet, ReadOptions, read_enhancement
from kaldi_quant.frontends.signals.level import rms
from tests.frontends.enhancement.data.toy_speech import tone

LENGTH = 1600
SECONDS = LENGTH / 16000


def samp(path: Path, groups: list[str], **changed: object) -> None:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for place, group in enumerate(groups):
            values = {"noisy_raw": tone(place) + np.float32(0.1), "clean_raw": tone(place)} | changed
            file.create_group(group)
            for name, value in values.items():
                if value is not None:
                    file[group][name] = value


def made(folder: Path) -> Path:
    noise = np.random.default_rng(1)
    # Speech grows louder: a place in it is told by its level.
    (np.linspace(0.1, 1, 40 * LENGTH) * np.sin(np.arange(40 * LENGTH))).astype("<f4").tofile(folder / "speech.bin")
    noise.standard_normal(30 * LENGTH).astype("<f4").tofile(folder / "noise.bin")
    samp(folder / "test" / "test_ADTbabble_snr-5_1.samp", [str(number) for number in range(11)])
    samp(folder / "test" / "test_cafe_x_snr2.5_a.samp", ["0"])
    return folder


def read(folder: Path, **changed: object) -> EnhancementSet:
    return read_enhancement(folder, reading=ReadOptions(speech_len=SECONDS, **changed))


def test_crops_and_tests(tmp_path: Path) -> None:
    found = read(made(tmp_path))
    assert (found.name, len(found.train), len(found.dev), len(found.test)) == ("mbqat", 36, 4, 12)
    pair = found.train.item(5, 2)
    assert pair.noisy.shape == pair.clean.shape == (LENGTH,) and rms(pair.noisy) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(pair.noisy, read(tmp_path).train.item(5, 2).noisy)
    ratio = 20 * np.log10(rms(pair.clean) / rms(pair.noisy - pair.clean))
    assert pair.snr in (-5, -4, -3, -2, -1, 0, 2, 5) and ratio == pytest.approx(pair.snr, abs=0.01)
    assert len({found.train.item(index, 0).noisy.tobytes() for index in range(36)}) == 36
    assert [pair.name for pair in found.test][8:] == [
        *(f"test_ADTbabble_snr-5_1/{number}" for number in (8, 9, 10)),
        "test_cafe_x_snr2.5_a/0",
    ]
    last, first = found.test[-1], found.test[0]
    assert (last.noise, last.snr, first.noise, first.snr) == ("cafe_x", 2.5, "ADTbabble", -5.0)
    assert first.noisy - first.clean == pytest.approx(0.1, abs=1e-6)
    assert len(read(tmp_path, num_training_samples=100, num_test_samples=3).train) == 100


def test_the_ends_of_the_files_are_for_development(tmp_path: Path) -> None:
    found = read(made(tmp_path), validation_share=0.25)
    ends = [len(file.samples) for file in (found.train.speech, found.dev.speech)]
    assert ends == [30 * LENGTH, 10 * LENGTH]
    assert np.array_equal(found.dev.speech.samples[-9:], np.fromfile(tmp_path / "speech.bin", "<f4")[-9:])


def test_a_file_of_the_test_as_development_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = made(tmp_path)
    samp(folder / "test_dev_snr0_1.samp", ["0", "1"])
    with caplog.at_level(logging.WARNING):
        found = read(folder, eval_file="test_dev_snr0_1.samp")
        assert not caplog.messages and len(found.dev) == 2 and len(found.train) == 40
        read(folder, eval_file="test/test_ADTbabble_snr-5_1.samp")
    assert "is part of the test" in caplog.text


def test_mapped_files_go_to_other_processes_as_their_names(tmp_path: Path) -> None:
    train = read(made(tmp_path)).train
    pair = train.item(3, 1)
    sent = pickle.dumps(train)
    assert len(sent) < 4 * LENGTH and np.array_equal(pickle.loads(sent).item(3, 1).noisy, pair.noisy)


def test_silent_crops_are_drawn_again(tmp_path: Path) -> None:
    folder = made(tmp_path)
    speech = np.zeros(40 * LENGTH, "<f4")
    speech[: 20 * LENGTH] = 0.5
    speech.tofile(folder / "speech.bin")
    train = read(folder).train
    assert all(train.item(index, 0).clean.any() for index in range(len(train)))
    np.zeros(40 * LENGTH, "<f4").tofile(folder / "speech.bin")
    with pytest.raises(DataError, match=r"speech.bin is silence where 20 crops of 1600 samples were taken"):
        read(folder).train.item(0, 0)


def test_digests_tell_crops(tmp_path: Path) -> None:
    first = read(made(tmp_path))
    assert first.train.digest() != first.dev.digest() and first.test.digest() == read(tmp_path).test.digest()
    assert first.test.digest() != read(tmp_path, num_test_samples=3).test.digest()


NAME = "test/test_ADTbabble_snr-5_1.samp"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (
        lambda folder: (folder / "noise.bin").write_bytes(b"\0" * 10),
        "noise.bin is cut off: expected samples of 4 bytes, found 10 bytes",
    ),
    "empty": (lambda folder: (folder / "speech.bin").write_bytes(b""), "speech.bin is empty"),
    "short": (
        lambda folder: tone(1, 900).tofile(folder / "noise.bin"),
        "noise.bin is too short: expected 1600 samples or more, found",
    ),
    "not finite": (
        lambda folder: np.full(40 * LENGTH, np.inf, "<f4").tofile(folder / "speech.bin"),
        "speech.bin has samples that are not finite",
    ),
    "no test": (lambda folder: [path.unlink() for path in (folder / "test").iterdir()], "test has no files like test_"),
    "another name": (
        lambda folder: (folder / NAME).rename(folder / "test" / "babble_5.samp"),
        "babble_5.samp: expected a name like test_babble_snr-5_1.samp",
    ),
    "no HDF5": (lambda folder: (folder / NAME).write_bytes(b"none"), "_1.samp cannot be read as HDF5"),
    "no groups": (lambda folder: samp(folder / NAME, ["first"]), "has no groups 0, 1, 2 and so on, found first"),
    "no dataset": (
        lambda folder: samp(folder / NAME, ["0"], clean_raw=None),
        "_1.samp, group 0: there is no dataset clean_raw",
    ),
    "other lengths": (
        lambda folder: samp(folder / NAME, ["0"], clean_raw=tone(1, 50)),
        "_1/0: noisy and clean speech must be equally long, found 3200 and 50 samples",
    ),
    "no samples": (
        lambda folder: samp(folder / NAME, ["0"], clean_raw=tone(1, 0), noisy_raw=tone(1, 0)),
        "_1/0 is empty",
    ),
    "stereo": (
        lambda folder: samp(folder / NAME, ["0"], clean_raw=np.zeros((2, 50))),
        "group 0, clean_raw: expected samples of one channel, found an array of",
    ),
    "integers": (
        lambda folder: samp(folder / NAME, ["0"], noisy_raw=np.zeros(50, int)),
        "group 0, noisy_raw: expected samples as floats, found int64",
    ),
    "NaN": (
        lambda folder: samp(folder / NAME, ["0"], noisy_raw=np.full(3200, np.nan)),
        "group 0, noisy_raw has samples that are not finite",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_files(tmp_path: Path, what: str) -> None:
    breaks, message = BROKEN[what]
    breaks(made(tmp_path))
    with pytest.raises(DataError, match=message):
        found = read_enhancement(tmp_path, "mbqat", reading=ReadOptions(speech_len=SECONDS))
        found.train.item(0, 0)
        list(found.test)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, usual = made(tmp_path), builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "h5py":
            raise ImportError
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match="needs the package h5py: pip install h5py"):
        read(folder)


def test_missing_files(tmp_path: Path) -> None:
    (made(tmp_path) / "noise.bin").unlink()
    with pytest.raises(DataError, match=r"noise.bin does not exist, or is no file: expected raw samples"):
        read_enhancement(tmp_path, "mbqat")
    with pytest.raises(DataError, match="gone does not exist, or is no folder: expected files like"):
        read_enhancement(tmp_path, "mbqat", reading=ReadOptions(test_path="gone"))
