"""Files that belong together by their names, and are alike."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

import soundfile

from kaldi_quant.frontends.paired_files import check_alike, paired
from kaldi_quant.frontends.signals.audio import read_audio, read_channels


def write(path: Path, samples: int = 100, channels: int = 2, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(samples).uniform(-1, 1, (samples, channels)).astype(np.float32)
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return path


def test_several_folders_are_paired(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        for name in ("2.wav", "1.wav", "x.txt"):
            write(folder / name) if name.endswith("wav") else (folder / name).write_text("")
    assert paired(folders, ".wav") == [(n, tuple(folder / f"{n}.wav" for folder in folders)) for n in ("1", "2")]
    (folders[2] / "2.wav").rename(folders[2] / "0.wav")
    with pytest.raises(DataError, match=r"c/0.wav has no partner .*a/0.wav \(2 files in .*a, 2 in .*b and 2 in .*c\)"):
        paired(folders, "wav")
    with pytest.raises(DataError, match=r"a has no files that end with .flac"):
        paired(folders, "flac")


def test_files_are_alike(tmp_path: Path) -> None:
    first = write(tmp_path / "1.wav")
    header = check_alike([first, write(tmp_path / "2.wav")], 2)
    assert (header.rate, header.samples, header.channels) == (8000, 100, 2)
    for other, message in (
        (write(tmp_path / "long.wav", 101), "1.wav and .*long.wav differ in length: 100 and 101 samples"),
        (write(tmp_path / "fast.wav", rate=9000), "1.wav and .*fast.wav differ in rate: 8000 and 9000 Hz"),
        (write(tmp_path / "mono.wav", channels=1), "mono.wav has 1 channels, expected 2"),
        (write(tmp_path / "none.wav", 0), "none.wav is empty, it has 0 samples"),
    ):
        with pytest.raises(DataError, match=message):
            check_alike([first, other], 2)


def test_channels_are_read_and_resampled(tmp_path: Path) -> None:
    path = write(tmp_path / "1.wav", 1000)
    whole = read_channels(path, 8000)
    assert whole.shape == (2, 1000) and np.array_equal(read_channels(path, 8000, 30, 50), whole[:, 30:80])
    assert whole.mean(axis=0) == pytest.approx(read_audio(path, 8000), abs=1e-6)
    half = read_channels(path, 4000)
    assert half.shape == (2, 500)
    assert half.mean(axis=0) == pytest.approx(read_audio(path, 4000), abs=1e-5)
