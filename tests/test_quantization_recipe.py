"""The quantization recipes as a user types them, and what they answer to what cannot work."""

import json
from pathlib import Path

import pytest

from tests.recipes import few_utterances, run

OURS, TORCH = "run_forward_pass_quantization.sh", "run_forward_pass_quantization_w_torch.sh"


@pytest.fixture
def data(example: Path, tmp_path: Path) -> Path:
    """A data folder of four utterances."""
    few_utterances(example / "data/test_hires", tmp_path / "data", 4, example)
    return tmp_path / "data"


def test_from_a_kaldi_folder_to_scores_and_files(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--bits", 4, "--calibration-utterances", 6, "--data-dir", data, "--out-dir", out, "--nj", 1)
    first = run(OURS, *options)
    assert first.status == 0, first.stderr
    assert first.score.startswith("%WER")
    record = json.loads((out / "quantization.json").read_text())
    assert record["preset"] == "w4a8"
    assert {"dequantized.mdl", "quantized.onnx", "quantized.150.onnx"} <= {path.name for path in out.iterdir()}
    made = (out / "quantized.safetensors").stat().st_mtime_ns
    again = run(OURS, *options)
    assert again.status == 0, again.stderr
    assert (out / "quantized.safetensors").stat().st_mtime_ns == made
    assert again.score == first.score
    (out / "quantized.onnx").unlink()
    exported = run(OURS, *options)
    assert "quantized.onnx is missing" in exported.stderr and (out / "quantized.onnx").exists()


@pytest.mark.parametrize("recipe", [OURS, TORCH])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--calibration-dir", "data/test_hires"), "is the data that is scored: calibrate on other data"),
        (("--calibration-dir", "data/none"), "data/none/feats.scp is missing or empty"),
        (("--config", "none.yaml"), "none.yaml"),
        (("--preset", "best"), "there is no preset 'best'; the presets are"),
        (("--bits", "1"), "a width of 1 bits is not possible"),
        (("--formats", "onnx,tflite"), "--formats onnx,tflite: expected"),
        (("--width", "4"), "No such option"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    recipe: str, arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    result = run(recipe, *arguments, "--out-dir", tmp_path / "out")
    assert result.status != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_other_quantization_is_not_pytorch_s() -> None:
    result = run(TORCH, "--preset", "w8a8")
    assert result.status == 1
    assert "w8a8 is not PyTorch's quantization: use run_forward_pass_quantization.sh" in result.stderr
