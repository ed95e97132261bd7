"""Configurations: read, completed, changed from a command line, refused."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from kaldi_quant.cli.recipes.stages import ROOT
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.config_file import find_config, read_zoo_config
from kaldi_quant.frontends.enhancement.zoo.modes import MODES
from kaldi_quant.frontends.enhancement.zoo.overrides import overridden, read_value
from kaldi_quant.frontends.enhancement.zoo.variables import expanded
from tests.frontends.enhancement.zoo.tiny import config, config_file

STM32 = ROOT / "egs" / "enhancement" / "stm32"
NOW = datetime(2025, 1, 2, 3, 4, 5)


def quantizing(folder: Path) -> dict[str, dict[str, str]]:
    return {"model": {"onnx_path": "x.onnx"}, "dataset": {"name": "valentini", "root_folder": str(folder)}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("True", True),
        ("null", None),
        ("", None),
        ("wave_snr", "wave_snr"),
        ("'3'", "3"),
        ("[Add, Conv]", ["Add", "Conv"]),
        ("{lr:0.01,betas:[0.9,0.99]}", {"lr": 0.01, "betas": [0.9, 0.99]}),
        ('{"CalibMovingAverage": True}', {"CalibMovingAverage": True}),
        ("[${A},b]", ["${A}", "b"]),
        ("a=b", "a=b"),
        ("[]", []),
    ],
)
def test_values_of_a_command_line(text: str, value: object) -> None:
    assert read_value(text, "x") == value


@pytest.mark.parametrize("text", ["[1", "{a", "{a:1", "'a", "[1]2", "{a 1}"])
def test_a_value_that_does_not_end_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_value(text, "x")


def test_overrides_leave_the_given_content_as_it_is() -> None:
    given = {"training": {"epochs": 100, "loss": "spec_mse"}}
    found = overridden(given, ["training.epochs=3", "+general.project_name=x", "++a=1", "~training.loss"])
    assert found == {"training": {"epochs": 3}, "general": {"project_name": "x"}, "a": 1}
    assert given == {"training": {"epochs": 100, "loss": "spec_mse"}}


@pytest.mark.parametrize(
    "word", ["epochs", "+training.epochs=3", "~training.no", "training.epochs.x=1", "=3", "a..b=1"]
)
def test_what_is_no_override_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=r"'"):
        overridden({"training": {"epochs": 100}}, [word])


def test_variables_stand_for_their_values() -> None:
    given = {"a": "${X}/b", "c": ["${oc.env:X}"], "d": "${now:%Y_%m}", "e": "None", "f": " ", "g": 1}
    assert expanded(given, {"X": "x"}, NOW) == {
        "a": "x/b",
        "c": ["x"],
        "d": "2025_01",
        "e": None,
        "f": None,
        "g": 1,
    }


@pytest.mark.parametrize(
    ("text", "match"), [("${NO}", "s.k: the variable NO .* not set"), ("${a.b}", "is no variable")]
)
def test_a_variable_that_is_not_set_is_named(text: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        expanded({"s": {"k": text}}, {}, NOW)


def test_a_configuration_is_complete_and_reads_as_the_same_again(tmp_path: Path) -> None:
    found = config(tmp_path, "quantization", **quantizing(tmp_path))
    assert found.quantization.random_seed == 42 and found.preprocessing.power == 1
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(found.plain()))
    assert read_zoo_config(again) == found


def test_texts_become_what_keys_hold(tmp_path: Path) -> None:
    path = config_file(
        tmp_path,
        "training",
        model={"model_type": "STFTTCNN"},
        dataset={"name": "valentini", "root_folder": str(tmp_path)},
    )
    words = ["training.epochs=${E}", "training.optimizer_arguments={lr: 1e-4}", "dataset.num_test_samples=0.5"]
    found = read_zoo_config(path, words, {"E": "7"})
    assert found.training.epochs == 7
    assert found.training.optimizer_arguments == {"lr": 1e-4}
    assert found.dataset.num_test_samples == 0.5


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("+general.x=1", "general has no key 'x': allowed are project_name, logs_dir"),
        ("+x.y=1", "has no section 'x': allowed are operation_mode, general"),
        ("operation_mode=train", "'train' does not exist: allowed are training, evaluation"),
        ("operation_mode=null", "operation_mode has no value"),
        (
            "~quantization.per_channel",
            "per_channel has no value: the section quantization needs static_sequence_length",
        ),
        ("quantization.static_sequence_length=0", "static_sequence_length must be above 0"),
        ("quantization.calibration_method=Distribution", "'Distribution' is not one of MinMax, Entropy, Percentile"),
        ("+quantization.preset=w9a9", "w9a9"),
        ("+quantization.extra_options={CalibMaxIntermediateOutputs:0}", "must be a whole number above 0"),
        ("+quantization.num_quantization_samples=1.5", "share of them up to 1.0, found 1.5"),
        ("+quantization.op_types_to_quantize=Conv", "must be a list of names"),
        ("quantization.per_channel=3", "per_channel must be true or false, found 3"),
        ("preprocessing.hop_length=65", "hop_length .65. to be at most win_length"),
        ("+preprocessing.center=false", "center must be true"),
        ("+preprocessing.pipeline_type=Other", "not one of LibrosaSpecPipeline"),
        ("quantization=3", "quantization: expected a section"),
        ("dataset.name=other", "dataset.name 'other' is not one of valentini, custom"),
        ("dataset.root_folder=/no/such", "there is no folder /no/such"),
        ("model.onnx_path=None", "onnx_path has no value: the mode quantization begins with that network"),
        ("+general.gpu_memory_limit=1.5", "gpu_memory_limit must be above 0"),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, word: str, match: str) -> None:
    path = config_file(tmp_path, "quantization", **quantizing(tmp_path))
    with pytest.raises(UsageError, match=match):
        read_zoo_config(path, [word])


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("+training.loss=l1", "'l1' is not one of spec_mse, wave_mse, wave_snr, wave_sisnr"),
        ("+training.optimizer=Lion", "not one of Adam, AdamW"),
        ("+training.optimizer_arguments={betas:[0.9,0.9]}", "lr must be a number above 0"),
        ("+training.optimizer_arguments={lr:0.1,nesterov:true}", "no key 'nesterov'"),
        ("+training.regularization={penalty_type:l3}", "'l3' is not one of l1, l2"),
        ("+training.regularization={x:1}", "training.regularization has no key 'x'"),
        ("model.model_type=Custom", "networks of your own come as ONNX files"),
        ("model.model_type=null", "model_type has no value"),
        ("+model_specific.in_channels=257", "in_channels must be n_fft // 2 . 1, 33"),
        ("training.epochs=null", "training.epochs has no value"),
        ("+preprocessing.sample_rate=48000", "sample_rate must be 16000"),
    ],
)
def test_impossible_trainings_are_refused(tmp_path: Path, word: str, match: str) -> None:
    sections = {"model": {"model_type": "STFTTCNN"}, "dataset": {"name": "valentini", "root_folder": str(tmp_path)}}
    path = config_file(tmp_path, "training", training={"epochs": 1}, **sections)
    with pytest.raises(UsageError, match=match):
        read_zoo_config(path, [word])


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "just words"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"broken\.yaml"):
        read_zoo_config(path)


def test_a_deployment_fits_the_length_of_the_quantized_network(tmp_path: Path) -> None:
    sections = {**quantizing(tmp_path), "deployment": {"frames_per_patch": 20, "lookahead_frames": 5}}
    with pytest.raises(UsageError, match="must be frames_per_patch"):
        config(tmp_path, "chain_qd", **sections)


def test_the_configuration_here_comes_before_the_one_beside_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, script = tmp_path / "here", tmp_path / "script"
    for folder in (here, script / "conf"):
        folder.mkdir(parents=True)
    (script / "user_config.yaml").write_text("a: 1")
    (script / "conf" / "other.yaml").write_text("a: 1")
    monkeypatch.chdir(here)
    assert find_config(None, "user_config", script) == script / "user_config.yaml"
    (here / "user_config.yaml").write_text("a: 1")
    assert find_config(None, "user_config.yaml", script) == here / "user_config.yaml"
    assert find_config("conf", "other", script) == script / "conf" / "other.yaml"
    with pytest.raises(UsageError, match=r"there is no configuration no\.yaml in"):
        find_config(None, "no", script)


@pytest.mark.parametrize("path", sorted(STM32.rglob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_configurations(tmp_path: Path, path: Path) -> None:
    variables = {name: str(tmp_path) for name in ("VALENTINI", "SPEECH", "MODEL", "NOISY")}
    for name in ("clean_train", "noisy_train", "clean_test", "noisy_test"):
        (tmp_path / name).mkdir()
    found = read_zoo_config(path, variables={**variables, "KALDI_QUANT_ROOT": str(ROOT)})
    assert path.name in ("user_config.yaml", f"{found.operation_mode}_config.yaml")


def test_each_mode_has_an_example() -> None:
    assert {path.name for path in STM32.glob("config_file_examples/*")} == {f"{mode}_config.yaml" for mode in MODES}


def test_the_manual_has_all_sections_and_keys() -> None:
    manual = (STM32 / "README.md").read_text("utf-8")
    plain = ZooConfig("training").plain()
    for section, keys in plain.items():
        for key in keys if isinstance(keys, dict) else ():
            assert f"`{key}`" in manual, f"{section}.{key}"
    assert len(plain) == len(fields(ZooConfig))
