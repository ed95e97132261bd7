"""``kaldi-quant copy``: both forms, raw networks, and outputs that are whole or not there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.model import AmNnetSimple, Model, read_model
from kaldi_quant.kaldi.nnet import Nnet
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


def test_edits_from_a_file_come_before_those_of_the_command_line(tmp_path: Path) -> None:
    config = tmp_path / "edits.config"
    config.write_bytes(b"# what recipes do \xe4\nrename-node old-name=output new-name=output-0\n\n  # and\n")
    edits = "rename-node old-name=output-0 new-name=last; set-learning-rate learning-rate=0.5"
    out = tmp_path / "out.raw"
    words = ["copy", "--raw", "--edits-config", str(config), "--edits", edits, "--learning-rate=0.25"]
    assert run([*words, str(PRIORS), str(out)]) == 0
    edited, before = read_model(out).nnet, read_model(PRIORS).nnet
    assert [*edited.nodes][-1] == "last" and "output" not in edited.nodes
    assert edited.components["tdnn1.affine"]["LearningRate"] == 0.5
    assert run(["copy", "--learning-rate=0.25", str(PRIORS), str(tmp_path / "rate.mdl")]) == 0
    rated = read_model(tmp_path / "rate.mdl").nnet.components["tdnn1.affine"]
    assert rated["LearningRate"] == 0.25 != before.components["tdnn1.affine"]["LearningRate"]


def test_a_mdl_is_written_with_the_context_and_the_priors_of_its_edited_network(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As nnet3-am-copy does, which computes the context anew."""
    model = read_model(PRIORS)
    lines = [*model.nnet.config_lines, "output-node name=wide input=Append(Offset(tdnn1.relu, -3), tdnn1.relu)"]
    raw = tmp_path / "wide.raw"
    raw.write_bytes(Model(Nnet.of_lines(lines, model.nnet.components), None, True, "").getvalue())
    out = tmp_path / "out.mdl"
    edits = "remove-output-nodes name=output; rename-node old-name=wide new-name=output; remove-orphans"
    assert run(["copy", "--set-raw-nnet", str(raw), "--edits", edits, str(PRIORS), str(out)]) == 0
    network = read_model(out).network
    assert isinstance(network, AmNnetSimple)
    assert (network.left_context, network.right_context, len(network.priors)) == (4, 1, 0)
    assert "its 208 priors are left out, since the output has 24 pdfs" in caplog.text
    # Without a change everything stays, priors too.
    assert run(["copy", "--edits", "remove-orphans", str(PRIORS), str(out)]) == 0
    assert out.read_bytes() == PRIORS.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--edits", "collapse-model"],
            "--edits: the edit 'collapse-model' is impossible: 'collapse-model' is none of",
        ),
        (["--edits-config", "missing"], "missing: cannot be read: No such file or directory"),
        (
            ["--edits-config", "latin"],
            r"the edit 'rename-node old-name=\udce4 new-name=a' is impossible: there is no",
        ),
        (["--learning-rate", "-1"], "--learning-rate: a learning rate cannot be negative, found -1"),
        (["--learning-rate", "nan"], "--learning-rate: a learning rate is a finite number, found nan"),
        (["--set-raw-nnet", "missing"], "missing: cannot be read"),
        (
            ["--edits", "rename-node old-name=output new-name=output-0"],
            "there is no output node output, only output-0, which a .mdl needs: write it with --raw",
        ),
    ],
)
def test_edits_that_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin").write_bytes(b"# \xe4\nrename-node old-name=\xe4 new-name=a\n")
    assert run(["copy", *arguments, str(PRIORS), "out"]) != 0
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_raw_network_has_no_network_to_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = str(FAST_LSTM / "final.raw")
    assert run(["copy", "--set-raw-nnet", raw, raw, str(tmp_path / "out")]) != 0
    assert "is a raw network already" in capsys.readouterr().err


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
