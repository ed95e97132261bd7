"""``kaldi-quant info``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.kaldi.model import read_model
from tests.references import NNET3

PRIORS = NNET3 / "priors_mdl" / "final.mdl"


def test_kaldis_lines_then_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(PRIORS)]) == 0
    lines = capsys.readouterr().out.splitlines()
    kaldi = [line.rstrip() for line in (NNET3 / "priors_mdl" / "info.txt").read_text().splitlines()]
    assert lines[: len(kaldi)] == kaldi
    assert f"file-bytes: {PRIORS.stat().st_size}" in lines
    sizes = dict(line.split(": ") for line in lines if line.startswith(("num-parameters", "inference-")))
    assert int(sizes["inference-parameters"]) == int(sizes["num-parameters"])
    # Batch normalization adds mean and variance, of 12 columns each.
    assert int(sizes["inference-bytes"]) == 4 * (int(sizes["num-parameters"]) + 2 * 12)


def test_a_network_that_cannot_be_executed_is_described_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(NNET3 / "distribute" / "final.raw")]) == 0
    printed = capsys.readouterr().out
    assert "# this network cannot be executed: " in printed and "DistributeComponent" in printed
    assert "left-context" not in printed and "component-node name=d component=d" in printed


def test_a_network_without_statistics_has_a_context(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Kaldi's first models of a training, which cannot be executed yet."""
    model = read_model(PRIORS)
    norm = model.nnet.components["tdnn1.batchnorm"]
    norm.replace("Count", np.float32(0))
    (tmp_path / "0.mdl").write_bytes(model.getvalue())
    assert run(["info", str(tmp_path / "0.mdl")]) == 0
    printed = capsys.readouterr().out
    assert "\nleft-context: 1\nright-context: 1\n" in printed and "count=0, test-mode=" in printed
    assert "# this network cannot be executed: " in printed and "has no statistics" in printed.splitlines()[-1]


def test_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "kaldi_quant", "info", str(PRIORS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("input-dim: 20\n") and done.stderr == ""
    piped = subprocess.run(
        [*command[:-1], "-"], input=PRIORS.read_bytes(), capture_output=True, check=False, timeout=60
    )
    without_size = [line for line in done.stdout.splitlines() if not line.startswith("file-bytes")]
    assert piped.stdout.decode().splitlines() == without_size and piped.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["missing.mdl"], 1, "kaldi-quant info: missing.mdl: cannot be read: No such file or directory\n"),
        (["."], 1, "kaldi-quant info: .: cannot be read: Is a directory\n"),
        ([], 2, "kaldi-quant info: Missing argument 'MODEL'.\n"),
        (["one", "two"], 2, "unexpected extra argument (two)"),
        (["--contexts", "one"], 2, "No such option"),
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
    assert run(["info", *arguments]) == status
    printed = capsys.readouterr()
    assert printed.out == "" and sentence in printed.err and "Traceback" not in printed.err


def test_a_truncated_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "final.mdl").write_bytes(PRIORS.read_bytes()[:20_000])
    assert run(["info", str(tmp_path / "final.mdl")]) == 1
    assert capsys.readouterr().err.startswith(f"kaldi-quant info: {tmp_path}/final.mdl, byte ")
