"""Configurations of ``main.py`` and ``evaluate.py``: the ancestor's keys, and what is wrong in one sentence."""

from pathlib import Path

import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.keywords.config import KeywordConfig, read_keyword_config
from tests.recipes import ROOT

CONF = ROOT / "egs" / "keywords" / "conf"
ANCESTOR = """
data: {raw_dir: "./data/raw", processed_dir: "./data/processed", sample_rate: 8000, batch_size: 256, version: "v0.1"}
model_type: "cnn_ptq_static"
model:
  base_cnn:
    n_input: 1
    n_output: 35
    stride: 16
    n_channel: 32
    conv_kernel_sizes: [80, 3, 3, 3]
    pretrained_path: "./models/cnn_fp32_model.pth"
    seed: 42
    version: "demo"
  output: "./models/cnn_ptq_static_test.pth"
train: {lr: 0.001, weight_decay: 0.0001, step_size: 10, gamma: 0.1, log_interval: 100, n_epoch: 20, version: "demo"}
"""


def read(folder: Path, text: str) -> KeywordConfig:
    path = folder / "c.yaml"
    path.write_text(text)
    return read_keyword_config(path)


def test_the_ancestors_keys_are_understood(tmp_path: Path) -> None:
    found = read(tmp_path, ANCESTOR)
    assert (found.method, found.preset, found.model.base_cnn.n_output) == ("ptq", "w8a8", 35)
    assert found.output() == Path("models/cnn_ptq_static_test.pth") and found.train.step_size == 10


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("cnn_*.yaml")))
def test_the_recipes_own_are_read(name: str) -> None:
    assert read_keyword_config(CONF / f"{name}.yaml").model_type == name


def test_both_spellings_mean_the_same(tmp_path: Path) -> None:
    one, other = (read(tmp_path, f"model_type: {name}") for name in ("cnn_ptq", "cnn_ptq_static"))
    assert one.method == other.method and one.preset == other.preset


def test_layer_wise_models_have_the_ancestors_names(tmp_path: Path) -> None:
    found = read(tmp_path, "model_type: cnn_ptq_LayerWiseQuant\nmodel: {quantization: [1, 3]}")
    assert found.output(3) == Path("models/cnn_ptq_LayerWiseQuant_q3_model.safetensors")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "data: {sample_rat: 1}",
            "c.yaml, data: there is no key 'sample_rat'; keys and defaults are raw_dir (./da",
        ),
        ("model: {base_cnn: {stride: wide}}", "c.yaml, model, base_cnn: stride must be a value like 16, found 'wide'"),
        ("model: {quantization: 3}", "quantization must be a list of whole numbers like [], found 3"),
        ("train: {lr: 0.0}", "train, lr must be above 0, found 0.0"),
        ("train: {gamma: 2.0}", "train, gamma must be between 0 and 1, found 2.0"),
        ("train: {n_epoch: -1}", "train, n_epoch must be above 0, found -1"),
        ("train: {teacher: 1.5}", "train, teacher must be from 0 to 1, found 1.5"),
        ("data: {batch_size: true}", "batch_size must be a value like 256, found True"),
        ("model_type: rnn", "model_type 'rnn' is not one of cnn_fp32, cnn_ptq, cnn_ptq_static, cnn_qat, cnn_awq, "),
        ("model_type: cnn_qat_LayerWiseQuant", "needs model, quantization: the blocks, such as [1, 2, 3, 4]"),
        ("model_type: cnn_ptq\nmodel: {quantization: [1]}", "is for the types *_LayerWiseQuant, not for cnn_ptq"),
        ("model_type: cnn_ptq_LayerWiseQuant\nmodel: {quantization: [5]}", "must be blocks from 1 to 4, found [5]"),
        ("- 1", "expected keys and values, found [1]"),
        ("data: [", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.yaml: cannot be read as YAML: .*No such file"):
        read_keyword_config(tmp_path / "gone.yaml")
