"""``main.py``, ``evaluate.py`` and ``m5.py`` as users type them, on a toy folder."""

import json
import shutil
from pathlib import Path

import pytest

import kaldi_quant as kq
from tests.frontends.keywords.toy_words import toy_words
from tests.recipes import Outcome, run

MAIN, EVALUATE, M5 = (f"egs/keywords/{name}.py" for name in ("main", "evaluate", "m5"))
TEXT = """
data: {{sample_rate: {rate}, batch_size: 12}}
model_type: {kind}
model:
  base_cnn: {{n_channel: 4}}
  calibration: 24
  quantization: [{blocks}]
train: {{lr: 0.01, n_epoch: {epochs}, step_size: 7, batch_size: 6}}
"""


def config(folder: Path, kind: str, rate: int = 8000, blocks: str = "", epochs: int = 10) -> Path:
    path = folder / f"{kind}.yaml"
    path.write_text(TEXT.format(kind=kind, rate=rate, blocks=blocks, epochs=epochs))
    return path


@pytest.fixture(scope="module")
def place(words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a float model was trained."""
    folder = tmp_path_factory.mktemp("keywords")
    outcome = make(folder, config(folder, "cnn_fp32"), words)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.strip() == "models/cnn_fp32_model.pth"
    return folder


def make(folder: Path, settings: Path, words: Path, *more: str) -> Outcome:
    return run(MAIN, "--config", settings, "--data-dir", words, *more, cwd=folder)


def evaluate(folder: Path, model: str, settings: Path, words: Path) -> Outcome:
    return run(EVALUATE, "--checkpoint", model, "--config", settings, "--data-dir", words, cwd=folder)


def test_a_float_model_is_made_and_evaluated(place: Path, words: Path) -> None:
    history = json.loads((place / "models/cnn_fp32_model_training/history.json").read_text())
    assert len(history["epochs"]) == 10
    outcome = evaluate(place, "models/cnn_fp32_model.pth", place / "cnn_fp32.yaml", words)
    size, accuracy, latency = outcome.stdout.splitlines()
    assert size == f"size {(place / 'models/cnn_fp32_model.pth').stat().st_size / 1000:.2f} KB"
    assert accuracy == "accuracy 100.00 % [100.00, 100.00] on 9 recordings"
    assert latency.startswith("latency ") and latency.endswith(" ms for a batch of 256 (float)")
    result = json.loads((place / "models/cnn_fp32_model.pth.json").read_text())
    assert (result["accuracy"], result["interval"], result["latency_batch"]) == (100, [100, 100], 256)


@pytest.mark.parametrize("kind", ["cnn_ptq_static", "cnn_awq"])
def test_a_quantized_model_is_made_and_evaluated(kind: str, place: Path, words: Path) -> None:
    settings = config(place, kind)
    outcome = make(place, settings, words)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.strip() == f"models/{kind}_model.safetensors"
    outcome = evaluate(place, f"models/{kind}_model.safetensors", settings, words)
    assert outcome.status == 0, outcome.stderr
    assert "accuracy 100.00 %" in outcome.stdout and "(integers)" in outcome.stdout


def test_one_block_at_a_time_is_quantized(place: Path, words: Path) -> None:
    outcome = make(place, config(place, "cnn_ptq_LayerWiseQuant", blocks="2, 4"), words)
    assert outcome.stdout.split() == [f"models/cnn_ptq_LayerWiseQuant_q{block}_model.safetensors" for block in (2, 4)]
    found = kq.load(place / outcome.stdout.split()[0])
    assert list(found.network.layers) == ["conv2"]
    assert set(found.float_layers.values()) == {"block 2 alone is quantized"}


def test_a_cell_is_kept_until_something_changes(words: Path, tmp_path: Path) -> None:
    shutil.copytree(words, tmp_path / "words")
    for name in ("cnn_fp32", "cnn_ptq"):
        config(tmp_path, name)

    def cells(*names: str) -> Outcome:
        options = ("--data-dir", tmp_path / "words", "--conf-dir", tmp_path, "--exp-dir", "exp")
        return run(M5, *options, *names, cwd=tmp_path)

    assert cells("float").status == 0
    place = tmp_path / "exp/m5/float"
    files = {"model.pth", "network.onnx", "network_fixed.onnx", "scores.json", "cell.json", "history.json"}
    assert files <= {path.name for path in place.iterdir()}
    cell = json.loads((place / "cell.json").read_text())
    assert (cell["network"], cell["method"], cell["score"]) == ("m5", "float", 100)
    assert cell["bytes"] == (place / "model.pth").stat().st_size
    assert "exp/m5/float is kept" in cells("float").stderr
    config(tmp_path, "cnn_fp32", epochs=11)
    assert "exp/m5/float is made again: train.n_epoch was 10 and is 11" in cells("float").stderr


def test_wrong_inputs_are_one_sentence(place: Path, words: Path, tmp_path: Path) -> None:
    model, settings = "models/cnn_fp32_model.pth", place / "cnn_fp32.yaml"
    two, four = toy_words(tmp_path / "two", 2), toy_words(tmp_path / "four", 4)
    slow = config(tmp_path, "cnn_fp32", rate=4000)
    (place / "other.pth").write_bytes(b"no checkpoint")
    for outcome, sentence in (
        (evaluate(place, "gone.pth", settings, words), "gone.pth: there is no such file: expected a checkpoint"),
        (evaluate(place, "other.pth", settings, words), "other.pth: it is no checkpoint that torch can read"),
        (evaluate(place, model, settings, two), f"{two} has no class '2', which {model} was trained on"),
        (evaluate(place, model, settings, four), f"{model} was not trained on the class '3', which {four} has"),
        (evaluate(place, model, slow, words), "was trained on waves of 8000 Hz, and data, sample_rate is 4000"),
        (evaluate(place, model, settings, tmp_path / "nowhere"), "nowhere does not exist, or is no folder"),
        (make(tmp_path, config(tmp_path, "cnn_ptq"), words), "cnn_fp32_model.pth: there is no such file"),
    ):
        lines = [line for line in outcome.stderr.splitlines() if line]
        assert outcome.status == 1 and len(lines) == 1 and sentence in lines[0], outcome.stderr
