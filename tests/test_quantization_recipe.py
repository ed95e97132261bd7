"""The quantization recipes as a user types them, and what they answer to what cannot work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS, TORCH = "run_forward_pass_quantization.sh", "run_forward_pass_quantization_w_torch.sh"


def run(recipe: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a recipe in this interpreter's environment, without Kaldi."""
    settings = {**os.environ, "VIRTUAL_ENV": sys.prefix, "KALDI_ROOT": ""}
    command = ["bash", str(ROOT / recipe), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def data(example: Path, tmp_path: Path) -> Path:
    """A data folder of eight utterances."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("feats.scp", "text", "utt2spk"):
        lines = (example / "data/test_hires" / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:8]))
    return folder


def test_from_a_kaldi_folder_to_scores_and_files(data: Path, tmp_path: Path) -> None:
    options = ("--bits", 4, "--calibration-utterances", 6, "--data-dir", data, "--out-dir", tmp_path)
    first = run(OURS, *options, "--nj", 1)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].startswith("%WER")
    record = json.loads((tmp_path / "quantization.json").read_text())
    assert record["preset"] == "w4a8"
    assert {"dequantized.mdl", "quantized.onnx", "quantized.150.onnx"} <= {path.name for path in tmp_path.iterdir()}
    made = (tmp_path / "quantized.safetensors").stat().st_mtime_ns
    again = run(OURS, *options, "--nj", 1)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "quantized.safetensors").stat().st_mtime_ns == made
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


@pytest.mark.parametrize("recipe", [OURS, TORCH])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--calibration-dir", "data/test_hires"), "is the data that is scored: calibrate on other data"),
        (("--calibration-dir", "data/none"), "data/none/feats.scp is missing or empty"),
        (("--config", "none.yaml"), "none.yaml is missing or empty"),
        (("--preset", "best"), "there is no preset 'best'; the presets are"),
        (("--bits", "1"), "a width of 1 bits is not possible"),
        (("--width", "4"), "unknown option --width"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    recipe: str, arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    result = run(recipe, *arguments, "--out-dir", tmp_path / "out")
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
