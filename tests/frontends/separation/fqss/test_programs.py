"""FQSS's programs from mixtures to files: float, quantized, scored and heard; interrupted and gone on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.cli.recipes import __main__ as recipes
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, ModelError, UsageError
from kaldi_quant.frontends.separation.fqss import training
from kaldi_quant.frontends.separation.fqss.config import config_of
from kaldi_quant.frontends.separation.fqss.sections import read_settings
from kaldi_quant.frontends.separation.fqss.settings import TrainingCfg
from kaldi_quant.frontends.separation.fqss.testing import infer, validate
from kaldi_quant.frontends.separation.networks.known import NETWORKS
from kaldi_quant.frontends.separation.training.checkpoint import read_network
from kaldi_quant.frontends.signals.wave_files import write_wav
from tests.frontends.separation.fqss.libri_mix import SIZES, settings, write, write_split
from tests.frontends.separation.toy import noises

QUANTIZED = {
    "qat": True,
    "gradient_based": True,
    "in_quant": False,
    "out_quant": True,
    "n_splitter": 2,
    "n_combiner": 2,
}


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.train.loop.plot_progress", lambda *_: None)


@pytest.fixture(scope="module")
def libri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of LibriMix, and a float network that was trained on them."""
    folder = tmp_path_factory.mktemp("libri")
    for split, count in (("train", 4), ("dev", 2), ("test", 2)):
        write_split(folder, split, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kaldi_quant.train.loop.plot_progress", lambda *_: None)
        train(folder, settings(folder, work_dir=str(folder / "float")))
    return folder


def train(folder: Path, content: dict[str, Any]) -> Path:
    path = write(folder / "train.yaml", content)
    return training.train(*read_settings(path, "asteroid"), str(path))


def quantized_settings(libri: Path, work: Path, **more: Any) -> dict[str, Any]:
    keys = {**QUANTIZED, **more}
    return settings(
        libri,
        work_dir=str(work),
        model_cfg={"quantization": keys, "model_path": str(work / "best_model.pth")},
        training_cfg={"pretrained": str(libri / "float/best_model.pth"), "kd_lambda": 0.1},
    )


def test_a_float_training_leaves_its_files(libri: Path) -> None:
    work = libri / "float"
    assert {path.name for path in work.iterdir()} == {
        "conf.yml",
        "checkpoints",
        "best_k_models.json",
        "latest_model.pth",
        "best_model.pth",
    }
    assert yaml.safe_load((work / "conf.yml").read_text())["dataset_cfg"]["segment"] == 0.3
    kept = json.loads((work / "best_k_models.json").read_text())
    passes = json.loads((work / "checkpoints/progress.json").read_text())["iterations"]
    assert kept == {f"checkpoints/epoch={entry['iteration']}.pth": entry["valid"]["loss"] for entry in passes[1:]}
    assert all((work / name).is_file() for name in kept)
    latest = torch.load(work / "latest_model.pth", weights_only=True)["state_dict"]
    last = torch.load(work / "checkpoints/epoch=1.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(latest[name], value) for name, value in last.items())


def test_a_quantized_training_leaves_integers_that_are_scored_and_heard(libri: Path, tmp_path: Path) -> None:
    content = quantized_settings(libri, tmp_path / "work")
    best = train(tmp_path, content)
    assert best == tmp_path / "work/best_model.pth"
    found = kq.load(best.with_name("best_model.safetensors"))
    assert isinstance(found, Quantized) and not found.float_layers and not found.network.float_matmuls
    bytes_in_torch = torch.load(best, weights_only=True)["integer_model"].numpy().tobytes()
    assert bytes_in_torch == best.with_name("best_model.safetensors").read_bytes()
    assert best.with_name("best_model.onnx").is_file()
    kept = json.loads(best.with_name("best_k_models.json").read_text())
    assert len(kept) == 2 and all((best.parent / name).is_file() for name in kept)

    read = read_settings(write(tmp_path / "val.yaml", content))
    line = validate(*read)
    values = dict(part.split("=") for part in line.split(","))
    assert list(values) == ["SI-SDR", "SI-SDR-imp", "SDR", "STOI"]
    assert all(np.isfinite(float(value)) for value in values.values())
    audio = next((libri / "test/mix_clean").glob("*.wav"))
    paths = infer(*read, audio, normalize=True, plot=True)
    assert [path.name for path in paths] == ["output0.wav", "output1.wav", "waveform.png"]
    for path in paths[:2]:
        wave, rate = soundfile.read(path, dtype="int16")
        assert (
            rate == 8000 and soundfile.info(path).subtype == "PCM_16" and np.abs(wave.astype(np.int32)).max() >= 32766
        )


def test_long_recordings_are_separated_in_pieces(libri: Path) -> None:
    content = settings(libri, work_dir=str(libri / "float"), testing_cfg={"segment_samples": 1600})
    content["model_cfg"]["model_path"] = str(libri / "float/best_model.pth")
    whole = {**content, "testing_cfg": {**content["testing_cfg"], "segment_samples": 0}}
    lines = [validate(*read_settings(write(libri / "val.yaml", found))) for found in (content, whole)]
    assert lines[0] != lines[1]


def test_a_killed_training_goes_on_to_the_same_bits(
    libri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path, quantized_settings(libri, tmp_path / "whole"))
    content = quantized_settings(libri, tmp_path / "killed")
    epoch: Callable[..., None] = training.WorkFolder.after_epoch

    def killed(self: Any, entry: Any, *arguments: Any) -> None:
        epoch(self, entry, *arguments)
        if entry.iteration == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.WorkFolder, "after_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, content)
    assert not (tmp_path / "killed/best_model.pth").exists()
    content["model_cfg"]["quantization"]["observer"] = False
    again = train(tmp_path, content)
    contents = [torch.load(path, weights_only=True)["integer_model"] for path in (whole, again)]
    networks = [kq.load(path.with_name("best_model.safetensors")) for path in (whole, again)]
    x = torch.randn(1, 1, 800, generator=torch.Generator().manual_seed(0))
    outputs = [network.network.model()(x) for network in networks if isinstance(network, Quantized)]
    assert torch.equal(*outputs) and len(contents[0]) == len(contents[1])
    assert json.loads((whole.with_name("best_k_models.json")).read_text()) == json.loads(
        again.with_name("best_k_models.json").read_text()
    )


def test_a_limit_of_losses() -> None:
    values = iter([torch.tensor(-40.0), torch.tensor(5.0), torch.tensor(2e6), torch.tensor(2e6)])
    cfg = TrainingCfg(threshold_byloss=True)
    loss = training.limited(lambda output, target: next(values) * output, cfg)
    one = torch.ones((), requires_grad=True)
    below = loss(one, None)
    below.backward()  # type: ignore[no-untyped-call]
    assert float(below.detach()) == -30 and one.grad is not None and float(one.grad) == 0
    assert float(loss(one, None).detach()) == 5 and bool(loss(one, None).isnan())
    with torch.no_grad():
        assert float(loss(one, None)) == 2e6


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"weight_quant": False}, "weight_quant must be True: integers are multiplied with integers"),
        ({"act_quant": False}, "act_quant must be True"),
        ({"n_splitter": 0}, "n_splitter must be 1 or more, found 0"),
        ({"out_quant": False}, "n_combiner 2 needs out_quant"),
        ({"inout_nl_quant": True}, "inout_nl_quant goes with one part of the"),
    ],
)
def test_keys_that_integers_have_not_are_refused(
    keys: dict[str, Any], sentence: str, libri: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        train(tmp_path, quantized_settings(libri, tmp_path / "work", **keys))


@pytest.mark.parametrize(
    "keys",
    [
        {"n_splitter": 1, "n_combiner": 1, "in_quant": True, "gradient_based": False, "in_act_n_bits": 6},
        {"n_splitter": 1, "n_combiner": 1, "out_quant": False, "weight_n_bits": 4},
        {"n_splitter": 1, "n_combiner": 1, "inout_nl_quant": True, "act_n_bits": 7},
    ],
)
def test_other_ends_train(keys: dict[str, Any], libri: Path, tmp_path: Path) -> None:
    content = quantized_settings(libri, tmp_path / "work", **keys)
    content["training_cfg"] |= {"epochs": 1, "kd_lambda": 0.0}
    best = train(tmp_path, content)
    found = kq.load(best.with_name("best_model.safetensors"))
    assert isinstance(found, Quantized)
    bits = {layer.weight.spec.bits for layer in found.network.layers.values()}
    assert keys.get("weight_n_bits", 8) in bits


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"training_cfg": {"pretrained": ""}}, UsageError, "training_cfg, pretrained is missing: give the file of a"),
        ({"training_cfg": {"pretrained": "none.pth"}}, FormatError, r"none\.pth: there is no such file"),
        ({"dataset_cfg": {"train_dir": ""}}, UsageError, "dataset_cfg has neither train_dir nor data_folder"),
        ({"dataset_cfg": {"train_dir": "none"}}, DataError, "none does not exist"),
        ({"dataset_cfg": {"segment": 9}}, DataError, "none of its 4 mixtures is 9 s long or longer"),
        (
            {"model_cfg": {"name": "ConvTasNet"}},
            ModelError,
            "holds the network conv-tasnet-small, expected conv-tasnet",
        ),
        ({"model_cfg": {"kernel_size": 32}}, ModelError, r"its encoder\.weight has the shape \(8, 1, 16\), expected"),
        ({"model_cfg": {"n_src": 3}, "dataset_cfg": {"n_src": 3}}, ModelError, "separates 2 sources, expected 3"),
    ],
)
def test_what_is_missing_is_told(
    change: dict[str, Any], kind: type[KaldiQuantError], sentence: str, libri: Path, tmp_path: Path
) -> None:
    content = quantized_settings(libri, tmp_path / "work")
    for section, values in change.items():
        content[section] |= values
    with pytest.raises(kind, match=sentence):
        train(tmp_path, content)
    assert not (tmp_path / "work/best_model.pth").exists()


def test_going_on_needs_a_training(libri: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"observer False goes on with the training in .*checkpoints: there is none"):
        train(tmp_path, quantized_settings(libri, tmp_path / "work", observer=False))


def test_a_float_network_is_not_taken_for_a_quantized_one(libri: Path, tmp_path: Path) -> None:
    content = quantized_settings(libri, tmp_path / "work")
    content["model_cfg"]["model_path"] = str(libri / "float/best_model.pth")
    with pytest.raises(UsageError, match="is a float network, and qat is True"):
        validate(*read_settings(write(tmp_path / "val.yaml", content)))
    content["model_cfg"]["model_path"] = ""
    with pytest.raises(UsageError, match="model_cfg, model_path is missing"):
        validate(*read_settings(write(tmp_path / "val.yaml", content)))


def test_music_is_trained_scored_and_separated(tmp_path: Path) -> None:
    kind = NETWORKS["conv-tasnet-music-small"]
    for place, track in enumerate(("train/a", "train/b", "train/c", "test/d")):
        one = noises(kind, 4, 1.5).train.item(place, 0)
        for stem, wave in zip(("mixture", *kind.sources), (one.mixture, *one.sources), strict=True):
            write_wav(tmp_path / "musdb" / track / f"{stem}.wav", wave.T, kind.rate)
    content = {
        "work_dir": str(tmp_path / "work"),
        "model_cfg": {
            "name": "conv-tasnet-music-small",
            "sizes": SIZES,
            "model_path": str(tmp_path / "work/best_model.pth"),
        },
        "dataset_cfg": {
            "name": "musdbhq",
            "task": "mus_sep",
            "train_dir": str(tmp_path / "musdb"),
            "sample_rate": kind.rate,
            "segment_samples": 3200,
            "data_stride": 1600,
        },
        "training_cfg": {"epochs": 1, "batch_size": 4, "num_workers": 2, "optim": {"lr": 0.001}},
        "testing_cfg": {"test_dir": str(tmp_path / "musdb"), "segment_samples": 4000, "NSDR": True},
    }
    path = write(tmp_path / "c.yaml", content)
    read = read_settings(path, "tasnet")
    assert config_of(*read).augmentations["shift"] == {"samples": 1600}
    training.train(*read, str(path))
    names = "", "_DRUMS", "_BASS", "_OTHER", "_VOCALS"
    assert [part.split("=")[0] for part in validate(*read).split(",")] == [f"NSDR{name}" for name in names]
    content["testing_cfg"]["NSDR"] = False  # type: ignore[index]
    read = read_settings(write(path, content))
    assert [part.split("=")[0] for part in validate(*read).split(",")] == [f"SDR{name}" for name in names]
    paths = infer(*read, tmp_path / "musdb/test/d/mixture.wav")
    assert [soundfile.info(path).channels for path in paths] == [2, 2, 2, 2]
    mono = tmp_path / "mono.wav"
    write_wav(mono, np.ones(800, np.float32), kind.rate)
    with pytest.raises(DataError, match=r"mono\.wav has 1 channels, expected 2 for conv-tasnet-music-small"):
        infer(*read, mono)


def test_the_commands(libri: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = settings(libri, work_dir=str(tmp_path / "work"), training_cfg={"epochs": 1})
    content["model_cfg"]["model_path"] = str(tmp_path / "work/best_model.pth")
    yml = str(write(tmp_path / "c.yaml", content))
    train_py, val_py, infer_py = (f"egs/separation/{name}.py" for name in ("train", "val", "infer"))
    assert recipes.main([train_py, "-env", "asteroid", "-y", yml, "--use_cpu", "--local_rank", "0"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "work/best_model.pth")
    assert recipes.main([val_py, "-y", yml, "--use_cpu"]) == 0
    assert capsys.readouterr().out.startswith("SI-SDR=")
    audio = str(next((libri / "test/mix_clean").glob("*.wav")))
    assert recipes.main([infer_py, "-y", yml, "-a", audio, "--use_cpu", "--normalize", "--plot"]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "work" / name) for name in ("output0.wav", "output1.wav", "waveform.png")
    ]
    assert recipes.main([infer_py, "-y", yml, "-a", str(tmp_path / "none.wav")]) == 1
    assert "none.wav does not exist" in capsys.readouterr().err
    assert recipes.main([train_py, "-env", "tasnet", "-y", yml]) == 1
    assert "give -env asteroid" in capsys.readouterr().err
    assert recipes.main([train_py, "-env", "asteroid", "-y", yml, "--distributed_launch"]) == 1
    assert "for processes that torchrun starts" in capsys.readouterr().err


def test_the_recipe_of_float_training(libri: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"network": "conv-tasnet-small", "sizes": SIZES, "epochs": 1, "batch_size": 2, "seconds": 0.3}
    given = ["--config", str(write(tmp_path / "c.yaml", content)), "--data-dir", str(libri), "--layout", "librimix"]
    output = tmp_path / "out/network.pth"
    assert recipes.main(["egs/separation/float.py", *given, "--output", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert read_network(output).made["training"]["seconds"] == 0.3
    assert recipes.main(["egs/separation/float.py", *given, "--device", "tpu", "--output", str(output)]) == 1
    assert "--device tpu: expected cpu or cuda" in capsys.readouterr().err


def test_float_trainings_lie_beside_each_other(libri: Path, tmp_path: Path) -> None:
    content = {"network": "conv-tasnet-small", "sizes": SIZES, "epochs": 1, "batch_size": 2, "seconds": 0.3}
    given = ["--config", str(write(tmp_path / "c.yaml", content)), "--data-dir", str(libri), "--layout", "librimix"]
    for name in ("one", "other"):
        assert recipes.main(["egs/separation/float.py", *given, "--output", str(tmp_path / f"out/{name}.pth")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "one.pth",
        "one_training",
        "other.pth",
        "other_training",
    }
    assert len(list((tmp_path / "out").glob("*_training/progress.json"))) == 2
