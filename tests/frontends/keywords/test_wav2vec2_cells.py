"""The cells of Wav2Vec2, from the command to the files; and configurations that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'kaldi_quant[wav2vec2]'")

import kaldi_quant as kq
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.cli.recipes.__main__ import main as run_recipe
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.keywords.networks.wav2vec2_folder import read_wav2vec2
from kaldi_quant.frontends.keywords.wav2vec2_config import read_settings
from kaldi_quant.metrics.score_file import read_score
from tests.frontends.keywords.wav2vec2_networks import SMALLEST

SIZES = {name: value for name, value in SMALLEST.items() if name != "like"}
SIZES |= {"conv_stride": [40, 20], "dropout": 0.0, "num_hidden_layers": 1}


def config(folder: Path, method: str, **changes: Any) -> str:
    content = {
        "model_type": f"wav2vec2_{method}",
        "model": {"sizes": SIZES, "calibration": 12},
        "train": {"n_epoch": 2, "batch_size": 12, "warm_up": 0, "lr": 0.01},
    }
    for name, values in changes.items():
        content[name] = {**content.get(name, {}), **values} if isinstance(values, dict) else values
    path = folder / f"{method}.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_each_method_leaves_a_cell(words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"--data-dir={words}", f"--exp-dir={tmp_path / 'exp'}", "--num-threads=1"]

    def run(method: str, *more: str, **changes: Any) -> Path:
        command = ["egs/keywords/wav2vec2.py", f"--config={config(tmp_path, method, **changes)}", *places, *more]
        assert run_recipe(command) == 0, capsys.readouterr().err
        return Path(capsys.readouterr().out.splitlines()[-1])

    hidden = {"features": "*.conv", "teacher": 0.5, "n_epoch": 1}
    cells = [run("fp32"), run("qat", train=hidden)]
    assert [cell.name for cell in cells] == ["float", "qat-w4a8"]
    x = torch.randn(5, 1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = read_wav2vec2(cells[0])(x)
    for cell in cells:
        found = json.loads((cell / "cell.json").read_text())
        score = read_score(cell)
        assert found["score"] == score.value and found["details"]["recordings"] == len(score.per_unit) == 9
        session = open_session((cell / "network.onnx").read_bytes())
        name = session.get_inputs()[0].name
        result = session.run(None, {name: x.numpy()})[0]
        if cell is not cells[0]:
            assert found["details"]["float_layers"] == {} == found["details"]["float_matmuls"]
            with torch.no_grad():
                expected = kq.load(cell / "quantized.safetensors").network.model()(x)
        assert np.abs(result - expected.numpy()).max() < 0.02 * float(expected.abs().max()), cell
    # As nothing has changed, it is kept.
    before = (cells[1] / "quantized.safetensors").stat().st_mtime_ns
    assert run("qat", train=hidden) == cells[1]
    assert (cells[1] / "quantized.safetensors").stat().st_mtime_ns == before


def test_cells_have_the_names_of_their_presets(tmp_path: Path) -> None:
    for method, preset, cell in (("ptq", "", "ptq-w8a8"), ("ptq", "w4a8", "ptq-w4a8"), ("awq", "", "awq-w4-g32")):
        assert read_settings(config(tmp_path, method), preset).cell == cell
    assert read_settings(config(tmp_path, "fp32")).cell == "float"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec2"}, "model_type 'wav2vec2' is not one of wav2vec2_fp32, wav2vec2_ptq, "),
        ({"model": {"layers": 3}}, r"model: there is no key 'layers'; keys and defaults are size \(tiny\)"),
        ({"model": {"sizes": 3}}, "sizes must be a value like"),
        ({"data": {"sample_rate": 8000}}, "data, sample_rate must be 16000 for Wav2Vec2, found 8000"),
        ({"model": {"preset": "w8a8"}}, "model, preset is for networks that are quantized here, not for wav2vec2_fp32"),
        ({"train": {"n_epoch": 0}}, "train, n_epoch must be above 0, found 0"),
        ({"train": {"shift": -1.0}}, r"train, shift must be 0 or more, found -1\.0"),
        ({"train": {"alpha": 1.5}}, r"train, alpha must be from 0 to 1, found 1\.5"),
    ],
)
def test_configurations_that_cannot_be(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        read_settings(config(tmp_path, "fp32", **changes))
    assert "fp32.yaml" in str(raised.value)


def test_a_checkpoint_that_is_missing_is_named(words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["egs/keywords/wav2vec2.py", f"--config={config(tmp_path, 'ptq')}", f"--data-dir={words}"]
    assert run_recipe([*command, f"--exp-dir={tmp_path}"]) == 1
    assert f"{tmp_path}/wav2vec2/float does not exist" in capsys.readouterr().err
