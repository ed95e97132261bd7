"""``kaldi-quant copy``: both forms, raw networks, and outputs that are whole or not there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.model import read_model
from tests.references import NNET3

PRIORS = NNET3 / "priors_mdl" / "final.mdl"
FAST_LSTM = NNET3 / "fast_lstm"


@pytest.mark.parametrize("option", [[], ["--binary"], ["--binary=true"], ["--binary", "true"]])
def test_binary(tmp_path: Path, option: list[str]) -> None:
    assert run(["copy", *option, str(PRIORS), str(tmp_path / "new" / "final.mdl")]) == 0
    assert (tmp_path / "new" / "final.mdl").read_bytes() == PRIORS.read_bytes()


def _assert_same_text(found: bytes, kaldis: bytes) -> None:
    """Statistics may differ in the seventh digit, since Kaldi divides them by a count as it writes."""
    words = list(zip(re.split(rb"(\s)", found), re.split(rb"(\s)", kaldis), strict=True))
    different = [(float(one), float(other)) for one, other in words if one != other]
    assert len(different) < len(words) / 50
    assert all(one == pytest.approx(other, rel=1e-6) for one, other in different)


@pytest.mark.parametrize("option", [["--binary=false"], ["--binary", "false"]])
def test_text_is_kaldis(tmp_path: Path, option: list[str]) -> None:
    assert run(["copy", *option, str(PRIORS), str(tmp_path / "final.txt")]) == 0
    _assert_same_text((tmp_path / "final.txt").read_bytes(), (PRIORS.parent / "final.txt").read_bytes())


def test_from_text_to_binary_and_back(tmp_path: Path) -> None:
    binary, text = tmp_path / "final.raw", tmp_path / "final.txt"
    assert run(["copy", str(FAST_LSTM / "final.txt"), str(binary)]) == 0
    assert run(["copy", "--binary=false", str(binary), str(text)]) == 0
    assert binary.stat().st_size == (FAST_LSTM / "final.raw").stat().st_size
    assert text.read_bytes() == (FAST_LSTM / "final.txt").read_bytes()


def test_the_network_alone(tmp_path: Path) -> None:
    assert run(["copy", "--raw", str(PRIORS), str(tmp_path / "final.raw")]) == 0
    assert read_model(tmp_path / "final.raw").transition_model is None


def test_through_standard_input_and_output() -> None:
    command = [sys.executable, "-m", "kaldi_quant", "copy", "--binary=false", "-", "-"]
    done = subprocess.run(command, input=PRIORS.read_bytes(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stderr == b""
    _assert_same_text(done.stdout, (PRIORS.parent / "final.txt").read_bytes())


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["missing.mdl", "out"], 1, "missing.mdl: cannot be read: No such file or directory"),
        ([str(PRIORS)], 2, "Missing argument 'OUT'"),
        (["--binary=maybe", str(PRIORS), "out"], 2, "expected true or false, found 'maybe'"),
        (["--text", str(PRIORS), "out"], 2, "--binary (default: true)"),
        ([str(PRIORS), "file/below"], 1, "cannot write file/below"),
        ([str(PRIORS), "folder"], 1, "cannot write folder"),
    ],
)
def test_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert run(["copy", *arguments]) == status
    printed = capsys.readouterr()
    assert sentence in printed.err and "Traceback" not in printed.err
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_an_unwritable_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o555)
    assert run(["copy", str(PRIORS), str(tmp_path / "out")]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_model_that_cannot_be_read_leaves_the_old_output(tmp_path: Path) -> None:
    (tmp_path / "bad.mdl").write_bytes(PRIORS.read_bytes()[:-5])
    (tmp_path / "out").write_text("old")
    assert run(["copy", str(tmp_path / "bad.mdl"), str(tmp_path / "out")]) == 1
    assert (tmp_path / "out").read_text() == "old"
