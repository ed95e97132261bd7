"""``kaldi-quant info``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kaldi_quant.cli.main import run
from kaldi_quant.formats.artefact import save, save_torch
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.quantization import quantize
from tests.formats.quantized_examples import quantized
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


def test_an_integer_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "quantized.safetensors"
    model, network, _ = quantized("priors_mdl", "mixed")
    layers = [{"name": name, "act_bits": network.act_bits(name)} for name in network.layers]
    save(path, network, model, {"preset": "w4a8", "bits_per_weight": 4.5, "layers": layers})
    command = [sys.executable, "-X", "importtime", "-m", "kaldi_quant", "info", str(path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not [line for line in result.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]
    lines = result.stdout.splitlines()
    assert lines[:2] == ["integer-model: nnet3", "preset: w4a8"] and f"file-bytes: {path.stat().st_size}" in lines
    assert "bits-per-weight: 4.5" in lines and f"quantized-layers: {len(network.layers)}" in lines
    for name, layer in network.layers.items():
        rows, columns = layer.weight.integers.shape
        ranges = "dynamic" if isinstance(layer, DynamicLinear) else "static"
        bits = f"weight-bits={layer.weight.spec.bits}, input-bits=8"
        assert f"layer: name={name}, {bits}, ranges={ranges}, rows={rows}, columns={columns}" in lines
    assert [line for line in lines if line.startswith("float-layer")] == [
        f"float-layer: name={name}, it is the last" for name in network.float_layers
    ]
    assert run(["info", "--output-node", "output", str(path)]) == 1
    assert "--output-node is for float models" in capsys.readouterr().err


def test_an_integer_network_of_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = quantize(nn.Sequential(nn.Linear(3, 5)), PtqConfig(), TensorData([torch.randn(2, 3)]))
    save_torch(tmp_path / "q.safetensors", network, {})
    assert run(["info", str(tmp_path / "q.safetensors")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["integer-model: torch.nn, Sequential", "preset: none"]
    assert lines[-1] == "layer: name=0, weight-bits=8, input-bits=unknown, ranges=static, rows=5, columns=3"
    assert run(["forward", str(tmp_path / "q.safetensors"), "ark:x", "ark:-"]) == 1
    assert "holds a network of torch.nn, and a model of Kaldi is needed here" in capsys.readouterr().err
