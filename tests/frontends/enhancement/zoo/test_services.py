"""Whole runs, by the command, from a folder that holds a configuration and nothing else."""

from __future__ import annotations

import csv
import json
import logging
import os
import stat
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml

from kaldi_quant.cli.recipes.stm32 import stm32ai_main
from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.frontends.enhancement.networks.stft_tcnn import STFTTCNN
from kaldi_quant.frontends.enhancement.zoo.config_file import read_zoo_config
from kaldi_quant.frontends.enhancement.zoo.mask_file import read_mask_file
from kaldi_quant.frontends.enhancement.zoo.network import build_network, export_network
from kaldi_quant.frontends.enhancement.zoo.run_folder import make_run_folder
from tests.frontends.enhancement.zoo.tiny import BINS, config, config_file, foreign_network, valentini_tree

TINY = {"n_blocks": 1, "num_layers": 1, "tcn_latent_dim": 4}
METRICS = ["pesq", "stoi", "snr", "sisnr", "mse"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few tiny pairs, and a network of other hands."""
    folder = valentini_tree(tmp_path_factory.mktemp("valentini"))
    foreign_network(folder / "float.onnx")
    return folder


def sections(tree: Path, **more: Any) -> dict[str, Any]:
    dataset = {"name": "valentini", "root_folder": str(tree), "n_speakers": 28}
    found: dict[str, Any] = {"model": {"onnx_path": str(tree / "float.onnx")}, "dataset": dataset}
    for name, values in more.items():
        found[name] = {**found.get(name, {}), **values}
    return found


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str, *words: str, **given: Any) -> Path:
    """The folder of a run that is begun in a folder."""
    folder.mkdir(exist_ok=True)
    config_file(folder, mode, **given)
    monkeypatch.chdir(folder)
    stm32ai_main.main([*words, "+hydra.run.dir=out"], standalone_mode=False)
    return folder / "out"


def means(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics_dict.json").read_text())


def test_a_chain_trains_quantizes_and_scores(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kaldi_quant")
    training = {"epochs": 2, "batch_size": 2, "optimizer_arguments": {"lr": 0.001}, "save_every": 2}
    training["regularization"] = {"weight_clipping_max": 0.25, "activation_regularization": 1e-4}
    given = sections(tree, model={"onnx_path": None, "model_type": "STFTTCNN"}, model_specific=TINY, training=training)
    out = run(tmp_path / "empty", monkeypatch, "chain_tqe", "training.batching_strategy=trim", **given)

    models = ["best_trained_model", "preprocessed_model", "quantized_model_int8", "quantized_model_int8_static"]
    models += ["quantized_model_kaldi_quant", "quantized_model_kaldi_quant_static", "trained_model"]
    assert sorted(path.stem for path in (out / "saved_models").glob("*.onnx")) == models
    best = read_mask_file(out / "saved_models" / "best_trained_model.onnx", BINS)
    assert (best.input, best.output, best.axis) == ("input", "output", "seq_len")
    model = onnx.load(str(best.path))
    assert [entry.version for entry in model.opset_import] == [17]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"

    rows = list(csv.DictReader((out / "training_logs" / "training_logs.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", "train_loss", "val_mse", "pesq", "stoi", "snr", "si-snr"}
    assert (out / "training_logs" / "training_metrics.png").exists()
    (checkpoint,) = (out / "ckpts").iterdir()
    weights = torch.load(checkpoint, weights_only=True)
    assert checkpoint.name == "checkpoint_epoch_2.pth" and weights["layers.0.inner.weight"].abs().max() <= 0.25

    whole = means(out / "eval_logs")
    assert list(whole) == METRICS
    quantized = out / "eval_logs_quantized"
    for folder in (quantized, quantized / "static", quantized / "kaldi_quant", quantized / "kaldi_quant_static"):
        assert means(folder)["sisnr"] == pytest.approx(whole["sisnr"], abs=0.5)
        lines = (folder / "detailed_metrics.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["name", "p232_000", "p232_001"]
    assert "chain_tqe: train" in (out / "stm32ai_main.log").read_text()
    effective = yaml.safe_load((out / "config.yaml").read_text())
    assert effective["training"]["batching_strategy"] == "trim" and effective["evaluation"]["logs_path"] == "eval_logs/"


def test_a_training_goes_on_from_its_snapshot(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    training = {"epochs": 2, "batch_size": 2, "reference_metric": "train_loss", "loss": "wave_snr"}
    given = sections(tree, model={"onnx_path": None, "model_type": "STFTTCNN"}, model_specific=TINY, training=training)
    first = run(tmp_path / "first", monkeypatch, "training", **given)
    logs = (first / "training_logs" / "training_logs.csv").read_bytes()
    model = (first / "saved_models" / "trained_model.onnx").read_bytes()
    snapshot = first / "training_logs" / "checkpoint.pt"
    again = run(tmp_path / "again", monkeypatch, "training", f"+training.snapshot_path={snapshot}", **given)
    assert (again / "training_logs" / "training_logs.csv").read_bytes() == logs
    assert "training_metrics.png is not drawn: matplotlib is not installed" in caplog.text
    assert not (again / "ckpts").exists()
    assert len((again / "saved_models" / "trained_model.onnx").read_bytes()) == len(model)
    with pytest.raises(UsageError, match="belongs to a training with other options"):
        run(
            tmp_path / "other",
            monkeypatch,
            "training",
            f"+training.snapshot_path={snapshot}",
            "training.epochs=3",
            **given,
        )
    with pytest.raises(UsageError, match="snapshot_path: there is no file"):
        run(tmp_path / "none", monkeypatch, "training", "+training.snapshot_path=no.pt", **given)


def test_a_foreign_network_is_scored_before_and_behind(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantization = {"num_quantization_samples": 2}
    out = run(tmp_path / "empty", monkeypatch, "chain_eqe", **sections(tree, quantization=quantization))
    whole, integers = means(out / "eval_logs"), means(out / "eval_logs_quantized")
    assert whole["snr"] == pytest.approx(integers["snr"], abs=0.5)

    static = out / "saved_models" / "quantized_model_int8_static.onnx"
    words = [f"model.onnx_path={static}", "+evaluation.fixed_sequence_length=40"]
    alone = run(tmp_path / "static", monkeypatch, "evaluation", *words, **sections(tree))
    assert means(alone / "eval_logs") == means(out / "eval_logs_quantized" / "static")
    with pytest.raises(UsageError, match="fixed_sequence_length is 30, but"):
        run(
            tmp_path / "30",
            monkeypatch,
            "evaluation",
            words[0],
            "+evaluation.fixed_sequence_length=30",
            **sections(tree),
        )
    boards = {"benchmarking": {"board": "B"}, "deployment": {"frames_per_patch": 30, "lookahead_frames": 5}}
    for mode in ("chain_eqe", "chain_qb", "chain_qd", "quantization"):
        with pytest.raises(UsageError, match=f"quantized already .* the mode {mode} begins with a float network"):
            run(tmp_path / mode, monkeypatch, mode, words[0], **sections(tree, **boards))


def test_folders_of_your_own_are_paired_by_name(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {f"{kind}_test_files_path": str(tree / f"{kind}_testset_wav") for kind in ("clean", "noisy")}
    given = {"model": {"onnx_path": str(tree / "float.onnx")}, "dataset": {"name": "custom", **folders}}
    out = run(tmp_path / "empty", monkeypatch, "evaluation", **given)
    same = run(tmp_path / "same", monkeypatch, "evaluation", **sections(tree))
    assert means(out / "eval_logs") == means(same / "eval_logs")
    given["dataset"]["clean_test_files_path"] = str(tree / "clean_trainset_28spk_wav")
    with pytest.raises(DataError, match="has no partner"):
        run(tmp_path / "unequal", monkeypatch, "evaluation", **given)
    del given["dataset"]["clean_test_files_path"]
    with pytest.raises(UsageError, match="clean_test_files_path has no value"):
        run(tmp_path / "lacking", monkeypatch, "evaluation", **given)


def program(folder: Path, text: str) -> Path:
    """A program in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / "stedgeai"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


_REPORT = """
[ "$1" = --version ] && { echo "ST Edge AI Core v10.0.0"; exit 0; }
echo "$@" > words.txt
while [ $# -gt 1 ]; do [ "$1" = --output ] && out=$2; shift; done
echo '{"ram_size": [1000, 5], "rom_size": 2000, "rom_n_macc": 3000}' > "$out/network_report.json"
"""


def test_a_benchmark_calls_the_program_where_it_is(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', _REPORT).parent}:{os.environ['PATH']}")
    out = run(tmp_path / "here", monkeypatch, "chain_qb", **sections(tree, benchmarking={"board": "STM32N6570-DK"}))
    found = json.loads((out / "benchmark.json").read_text())
    assert found["board"] == "STM32N6570-DK"
    names = ["quantized_model_int8_static.onnx", "quantized_model_kaldi_quant_static.onnx"]
    assert list(found["models"]) == names
    for needs in found["models"].values():
        assert needs["stedgeai"] == {"activations": 1000, "weights": 2000, "operations": 3000}
        assert needs["frames"] == 40 and needs["milliseconds_in_onnxruntime"] > 0
        assert needs["multiply_accumulates"] == 40 * (2 * BINS * 8 + 3 * 8)
        assert 2 * BINS * 8 + 3 * 8 < needs["estimated_weight_bytes"] < 2000
    words = (tmp_path / "here" / "words.txt").read_text().split()
    assert words[:3] == ["generate", "--target", "stm32n6"]
    assert words[words.index("-m") + 1] == str(out / "saved_models" / names[1])


def test_a_benchmark_says_what_is_missing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    given = sections(tree, benchmarking={"board": "STM32N6570-DK"}, tools={"stedgeai": {"on_cloud": True}})
    out = run(tmp_path / "here", monkeypatch, "benchmarking", **given)
    assert "stedgeai is not on the PATH: install ST Edge AI Core" in caplog.text
    assert "developer cloud is not called" in caplog.text
    (needs,) = json.loads((out / "benchmark.json").read_text())["models"].values()
    assert "stedgeai" not in needs and needs["multiply_accumulates"]


def test_a_program_that_fails_is_told(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kaldi_quant")
    path = program(tmp_path / "bin", '[ "$1" = --version ] || { echo "E010: no such board" >&2; exit 3; }')
    static = foreign_network(tmp_path / "fixed.onnx", 40, batch=1)
    words = [f"model.onnx_path={static}", f"+tools.stedgeai.path_to_stedgeai={path}"]
    with pytest.raises(DataError, match="ended with status 3, and said: E010: no such board"):
        run(tmp_path / "here", monkeypatch, "benchmarking", *words, **sections(tree, benchmarking={"board": "B"}))
    assert "no such board" in (tmp_path / "here" / "out" / "stm32ai_main.log").read_text()


def test_a_deployment_makes_header_and_code(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', _REPORT).parent}:{os.environ['PATH']}")
    deployment = {"frames_per_patch": 30, "lookahead_frames": 5}
    out = run(tmp_path / "here", monkeypatch, "chain_qd", **sections(tree, deployment=deployment))
    header = (out / "C_header" / "ai_model_config.h").read_text()
    assert "CTRL_X_CUBE_AI_SPECTROGRAM_COL_OVL       (5U)" in header and "(64U)" in header
    assert (out / "stm32ai_files" / "network_report.json").exists()
    quantized = out / "saved_models" / "quantized_model_int8.onnx"
    for path, match in ((quantized, "is for any number of frames"), (tree / "float.onnx", "is a float network")):
        with pytest.raises(UsageError, match=match):
            run(
                tmp_path / "no",
                monkeypatch,
                "deployment",
                f"model.onnx_path={path}",
                **sections(tree, deployment=deployment),
            )


class FakeMlflow(ModuleType):
    """Notes what it is told, as mlflow's own functions are called."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.told: dict[str, Any] = {"metrics": {}, "files": []}
        self.exceptions = SimpleNamespace(MlflowException=ValueError)

    def set_tracking_uri(self, uri: str) -> None:
        if uri == "broken":
            raise ValueError("no such place")
        self.told["uri"] = uri

    def set_experiment(self, name: str) -> None:
        self.told["experiment"] = name

    def start_run(self, run_name: str) -> AbstractContextManager[None]:
        self.told["run"] = run_name
        return nullcontext()

    def log_params(self, values: dict[str, str]) -> None:
        self.told["parameters"] = values

    def log_metrics(self, values: dict[str, float], step: int = 0) -> None:
        self.told["metrics"].update(values)

    def log_artifact(self, path: str, below: str | None) -> None:
        self.told["files"].append((Path(path).name, below))


def test_a_run_is_kept_in_mlflow(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    general = {"project_name": "mine"}
    out = run(tmp_path / "here", monkeypatch, "evaluation", **sections(tree, general=general, mlflow={"uri": "./runs"}))
    told = mlflow.told
    assert (told["uri"], told["experiment"], told["run"]) == ("./runs", "mine", "out")
    assert told["metrics"] == {f"float.{name}": value for name, value in means(out / "eval_logs").items()}
    assert told["parameters"]["operation_mode"] == "evaluation"
    assert told["files"] == [
        ("config.yaml", None),
        ("detailed_metrics.csv", "eval_logs"),
        ("metrics_dict.json", "eval_logs"),
    ]
    with pytest.raises(DataError, match=r"mlflow\.uri broken cannot be used: no such place"):
        run(tmp_path / "there", monkeypatch, "evaluation", **sections(tree, mlflow={"uri": "broken"}))


def test_without_mlflow_a_sentence_says_so(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    run(tmp_path / "here", monkeypatch, "evaluation", **sections(tree, mlflow={"uri": "x"}))
    assert "pip install mlflow" in caplog.text


def zoo_names(network: STFTTCNN, layers: int) -> dict[str, torch.Tensor]:
    """Parameters as the zoo's program names them."""
    parts = {"inner": "0", "inner_norm": "1", "depthwise": "3.net.0", "depthwise_norm": "3.net.1", "outer": "3.net.3"}
    found = {}
    for name, value in network.state_dict().items():
        _, place, part, rest = name.split(".")
        block, layer = divmod(int(place), layers)
        found[f"tcn.tcn_block_{block}.network.{layer}.TCM_net.{parts[part]}.{rest}"] = value
    return found


def test_a_state_dict_of_the_zoo_is_scored_as_its_onnx_file(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"n_blocks": 2, "num_layers": 2, "tcn_latent_dim": 4, "mask_activation": "tanh"}
    network = STFTTCNN(BINS, 4, 2, 2, mask_activation="tanh").eval()
    torch.save(zoo_names(network, 2), tmp_path / "state.pth")
    model = {"onnx_path": None, "model_type": "STFTTCNN", "state_dict_path": str(tmp_path / "state.pth")}
    found = sections(tree, model=model, model_specific=shape)
    built = build_network(config(tmp_path, "evaluation", **found))
    x = torch.rand(1, BINS, 9)
    assert torch.equal(built(x), network(x))
    export_network(network, tmp_path / "network.onnx", BINS, 17)
    assert np.allclose(read_mask_file(tmp_path / "network.onnx", BINS).mask(x), network(x).detach(), atol=1e-5)
    out = run(tmp_path / "torch", monkeypatch, "evaluation", **found)
    given = sections(tree, model={"onnx_path": str(tmp_path / "network.onnx")})
    same = run(tmp_path / "onnx", monkeypatch, "evaluation", **given)
    assert means(out / "eval_logs")["snr"] == pytest.approx(means(same / "eval_logs")["snr"], abs=1e-3)
    with pytest.raises(ModelError, match="checkpoint of another network"):
        build_network(config(tmp_path, "evaluation", **sections(tree, model=model, model_specific=TINY)))
    with pytest.raises(ModelError, match="opset_version 99"):
        export_network(network, tmp_path / "network.onnx", BINS, 99)


def test_runs_of_the_same_second_have_folders_of_their_own(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_zoo_config(config_file(tmp_path, "evaluation", **sections(tree)))
    monkeypatch.chdir(tmp_path)
    now = datetime(2025, 1, 2, 3, 4, 5)
    folders = [make_run_folder(found, now) for _ in range(2)]
    assert [str(folder) for folder in folders] == [f"experiment_outputs/2025_01_02_03_04_05{end}" for end in ("", "_2")]
