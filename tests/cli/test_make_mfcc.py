"""``kaldi-quant make-mfcc`` from the command line."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kaldi_native_fbank", reason="features from audio need kaldi-native-fbank")

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.tables import read_matrices


@pytest.fixture
def arguments(example: Path) -> list[str]:
    return ["make-mfcc", "--config", f"{example}/conf/mfcc_hires.conf", f"scp:{example}/data/test_wav/wav.scp"]


def test_features(arguments: list[str], tmp_path: Path) -> None:
    assert run([*arguments, f"ark,scp:{tmp_path}/feats.ark,{tmp_path}/feats.scp"]) == 0
    features = dict(read_matrices(f"scp:{tmp_path}/feats.scp"))
    assert len(features) == 12
    assert features["test030-006"].shape == (182, 40)


def test_compressed_features(arguments: list[str], tmp_path: Path) -> None:
    assert run([*arguments, f"ark:{tmp_path}/plain.ark"]) == 0
    assert run([*arguments, "--compress", f"ark:{tmp_path}/packed.ark"]) == 0
    assert (tmp_path / "packed.ark").stat().st_size < 0.3 * (tmp_path / "plain.ark").stat().st_size
    packed = dict(read_matrices(f"ark:{tmp_path}/packed.ark"))
    for utterance, values in read_matrices(f"ark:{tmp_path}/plain.ark"):
        # A step of the compression is at most 1/64 of the distance between two quartiles.
        assert np.abs(packed[utterance] - values).max() <= (values.max(axis=0) - values.min(axis=0)).max() / 64


def test_options_come_after_the_configuration_file(arguments: list[str], tmp_path: Path) -> None:
    assert run([*arguments, "--num-ceps=5", f"ark:{tmp_path}/feats.ark"]) == 0
    assert {values.shape[1] for _, values in read_matrices(f"ark:{tmp_path}/feats.ark")} == {5}


def test_a_bad_utterance_is_left_out(
    arguments: list[str], example: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (example / "data" / "test_wav" / "wav.scp").read_text().replace("wav/", f"{example}/wav/")
    (tmp_path / "wav.scp").write_text(lines + "zzz missing.wav\n")
    assert run([*arguments[:-1], f"scp:{tmp_path}/wav.scp", f"ark:{tmp_path}/feats.ark"]) == 0
    assert "zzz" in caplog.text
    assert len(list(read_matrices(f"ark:{tmp_path}/feats.ark"))) == 12


def test_audio_in_an_archive(arguments: list[str], example: Path, tmp_path: Path) -> None:
    """A file of its own, an archive, and an scp that points into it give the same features."""
    places = dict(line.split() for line in (example / "data" / "test_wav" / "wav.scp").read_text().splitlines())
    with (tmp_path / "wav.ark").open("wb") as archive, (tmp_path / "wav.scp").open("w") as script:
        for utterance, place in places.items():
            archive.write(f"{utterance} ".encode())
            script.write(f"{utterance} {tmp_path}/wav.ark:{archive.tell()}\n")
            archive.write((example / place).read_bytes())
    assert run([*arguments, f"ark:{tmp_path}/plain.ark"]) == 0
    for kind in ("ark", "scp"):
        assert run([*arguments[:-1], f"{kind}:{tmp_path}/wav.{kind}", f"ark:{tmp_path}/{kind}.feats"]) == 0
        assert (tmp_path / f"{kind}.feats").read_bytes() == (tmp_path / "plain.ark").read_bytes()


def test_audio_is_resampled_when_allowed(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--sample-frequency=8000", f"ark:{tmp_path}/feats.ark"]) == 1
    error = capsys.readouterr().err
    assert "sampled at 16000 Hz and not at --sample-frequency=8000: --allow-downsample=true resamples it" in error
    (tmp_path / "mfcc.conf").write_text("--sample-frequency=8000\n--allow-downsample=true\n--num-mel-bins=20\n")
    assert run([*arguments, "--config", f"{tmp_path}/mfcc.conf", f"ark:{tmp_path}/feats.ark"]) == 1
    assert "--num-ceps" in capsys.readouterr().err
    (tmp_path / "mfcc.conf").write_text("--sample-frequency=8000\n--allow-downsample=true\n")
    low = ["--low-freq=20", "--high-freq=-200"]
    assert run([*arguments, "--config", f"{tmp_path}/mfcc.conf", *low, f"ark:{tmp_path}/feats.ark"]) == 0
    assert len(list(read_matrices(f"ark:{tmp_path}/feats.ark"))) == 12


def test_too_many_bad_utterances_leave_no_features(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--sample-frequency=8000", f"ark:{tmp_path}/feats.ark"]) == 1
    assert "none of the 12 utterances could be used" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--num-ceps=0"], "--num-ceps=0"),
        (["--config=missing.conf"], "missing.conf"),
        (["--vtln-map=ark:x"], "not supported"),
    ],
)
def test_bad_options(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], message: str
) -> None:
    assert run([*arguments, *changes, f"ark:{tmp_path}/feats.ark"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
