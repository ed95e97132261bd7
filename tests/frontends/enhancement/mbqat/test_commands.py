"""MBQAT's programs as users type them, on sines in the place of speech."""

import subprocess
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
import yaml

import kaldi_quant as kq
from kaldi_quant.frontends.enhancement.data import EnhancementSet, Pair
from kaldi_quant.frontends.enhancement.mbqat import runs
from kaldi_quant.frontends.enhancement.mbqat.settings import MbqatSettings
from kaldi_quant.frontends.enhancement.mbqat.variants import VARIANTS
from kaldi_quant.frontends.enhancement.training.checkpoint import read_network
from tests.frontends.enhancement.training import sounds
from tests.recipes import ROOT, Outcome, run

FOLDERS = ROOT / "egs/enhancement/mbqat"
MODEL, QUANTIZE = (f"egs/enhancement/mbqat/{name}.py" for name in ("model", "quantize"))
PROGRAMS = {
    "CRN_original": {"train.py"},
    "CRN_100k": {"model_100k.py", "PTQ_100k.py"},
    "CRN_100k_StandardQAT": {"model_100k_StQAT.py"},
    "CRN_100k_GeneralQAT": {"model_100k_GeQAT.py", "dynamic_quant_100k_GeQAT.py"},
    "CRN_100k_MBQAT": {"model_100k_MBQAT.py", "dynamic_quant_100k_MBQAT.py"},
    "TCN_100k_MBQAT": {"model_tcn_MBQAT.py"},
}


READ_DATA = runs.read_data


class Pairs(list[Pair]):
    def digest(self) -> str:
        return str(len(self))


def named(seed: int, noise: str, snr: float) -> Pair:
    found = sounds.pair(seed, 12000)
    return Pair(f"p{seed}", found.noisy, found.clean, noise, snr)


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of sines."""

    def read(settings: MbqatSettings) -> EnhancementSet:
        test = Pairs([named(1, "hum", 0.0), named(2, "hum", 5.0), named(3, "hum", 5.0)])
        return EnhancementSet("toy", 16000, sounds.Train(3), Pairs([named(9, "hum", 5.0)]), test)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "read_data", read)
    monkeypatch.setattr(runs, "_CALIBRATION", 2)


def settings(place: Path, folder: str, **changes: object) -> Path:
    """The folder's own settings, for a training that ends soon."""
    found = yaml.safe_load((FOLDERS / folder / VARIANTS[folder].settings).read_text())
    found |= {"max_epoch": 1, "batch_size": 2, "speech_len": 4000, "output_dir": str(place / "result"), **changes}
    path = place / "settings.yaml"
    path.write_text(yaml.safe_dump(found))
    return path


def program(name: str, folder: str, config: Path, *options: object) -> Outcome:
    return run(name, "--folder", FOLDERS / folder, "--config", config, "--num-threads", 1, *options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with a float CRN."""
    place = tmp_path_factory.mktemp("mbqat")
    with pytest.MonkeyPatch.context() as patch:
        data.__wrapped__(patch)  # type: ignore[attr-defined]
        outcome = program(MODEL, "CRN_100k", settings(place, "CRN_100k"), "-r", "train")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.strip() == str(place / "result/mbqat/CRN_100k/checkpoints/best.ckpt")
    return place


def test_training_leaves_a_network_and_wav_files(trained: Path) -> None:
    output = trained / "result/mbqat/CRN_100k"
    assert read_network(output / "checkpoints/best.ckpt").name == "crn-100k"
    waves = {path.name for path in (output / "est_validations").iterdir()}
    assert waves == {"Batch0_mix.wav", "Batch0_tgt.wav", "Batch0_time.wav"}


def test_the_table_has_a_column_for_each_condition(trained: Path) -> None:
    outcome = program(MODEL, "CRN_100k", settings(trained, "CRN_100k"), "-r", "test")
    assert outcome.status == 0, outcome.stderr
    rows = [line.split("\t") for line in outcome.stdout.splitlines()]
    assert [row[0] for row in rows] == ["SNR", "MIX", "TIME", "STOI", "MIX", "TIME", "PESQ", "MIX", "TIME"]
    assert rows[0][1:] == ["(hum_snr0)", "(hum_snr5)"] and float(rows[1][1]) == pytest.approx(5, abs=0.2)
    waves = trained / "result/mbqat/CRN_100k/est_predictions"
    assert len(list(waves.iterdir())) == 9
    wave, rate = soundfile.read(waves / "S002_hum_5_time.wav")
    assert rate == 16000 and np.abs(wave).max() == pytest.approx(1, abs=1e-3)


def test_files_are_cleaned(trained: Path, tmp_path: Path) -> None:
    noisy = sounds.pair(5, 9001).noisy
    soundfile.write(tmp_path / "one.wav", noisy, 16000)
    config = settings(trained, "CRN_100k")
    model = trained / "result/mbqat/CRN_100k"
    for options, made in (((), tmp_path), (("-o", tmp_path / "out"), tmp_path / "out")):
        outcome = program(MODEL, "CRN_100k", config, "-r", "infer", "-m", model, "-i", tmp_path, *options)
        assert outcome.stdout.strip() == str(made / "one_time.wav"), outcome.stderr
        assert len(soundfile.read(made / "one_time.wav")[0]) == 9001


@pytest.mark.parametrize("kind", ["s", "d"])
def test_a_trained_network_is_quantized(kind: str, trained: Path) -> None:
    outcome = program(QUANTIZE, "CRN_100k", settings(trained, "CRN_100k", PTQ_type=kind))
    assert outcome.status == 0, outcome.stderr
    rows = ["SNR", "MIX", "TIME", "TORCH"] if kind == "d" else ["SNR", "MIX", "TIME"]
    assert [line.split("\t")[0] for line in outcome.stdout.splitlines()][: len(rows) + 1] == [*rows, "STOI"]
    quantized = kq.load(trained / "result/mbqat/CRN_100k/quantized/best.safetensors")
    assert any("conv" in name or "encoder" in name for name in quantized.float_layers) == (kind == "d")
    model = quantized.network.model()
    assert model(torch.rand(1, 4, 161)).shape == (1, 4, 161)


def test_training_of_quantized_networks_ends_in_integers(tmp_path: Path) -> None:
    folder = "TCN_100k_MBQAT"
    config = settings(tmp_path, folder)
    outcome = program(MODEL, folder, config, "-r", "train")
    assert outcome.status == 0, outcome.stderr
    made = tmp_path / "result/mbqat" / folder / "checkpoints"
    assert outcome.stdout.strip() == str(made / "best.safetensors")
    assert not kq.load(made / "best.safetensors").float_layers
    # The float network that was trained before is one to begin with.
    outcome = program(MODEL, folder, config, "-r", "test", "-m", made)
    assert len(outcome.stdout.splitlines()) == 9, outcome.stderr
    outcome = program(MODEL, folder, config, "-r", "train", "-m", made / "best.safetensors")
    assert "best.safetensors is quantized: training begins with a float network" in outcome.stderr


def test_bad_input_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    config = settings(trained, "CRN_100k")
    for options, sentence in (
        (("-r", "infer"), "-r infer needs -i, the folder of WAV files"),
        (("-r", "infer", "-i", tmp_path), f"{tmp_path} has no WAV files"),
        (("-r", "test", "-m", tmp_path), f"{tmp_path} holds no network: expected a file, or a folder with best.ckpt"),
        (("-r", "test", "-i", tmp_path), "-i is for -r infer"),
    ):
        outcome = program(MODEL, "CRN_100k", config, *options)
        assert outcome.status != 0 and sentence in outcome.stderr, outcome.stderr
    config = settings(tmp_path, "TCN_100k_MBQAT")
    model = trained / "result/mbqat/CRN_100k"
    outcome = program(MODEL, "TCN_100k_MBQAT", config, "-r", "test", "-m", model)
    assert "holds the network crn-100k, expected tcn-100k" in outcome.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"learning_rate": 1},
            "there is no key 'learning_rate'; keys and defaults are sample_rate (16000)",
        ),
        ({"frame_size": 400}, "frame_size must be 320 for the network crn-100k, found 400"),
        ({"PTQ_type": "x"}, "PTQ_type must be s or d, found 'x'"),
        ({"max_epoch": 0}, "max_epoch must be above 0, found 0"),
    ],
)
def test_settings_are_checked(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    outcome = program(MODEL, "CRN_100k", settings(tmp_path, "CRN_100k", **changes), "-r", "test")
    assert outcome.status != 0 and sentence in outcome.stderr


def test_settings_name_raw_files_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_speech, raw_noise = (np.random.default_rng(seed).normal(size=16 * 16000).astype("<f4") for seed in (1, 2))
    raw_speech.tofile(tmp_path / "s.bin")
    raw_noise.tofile(tmp_path / "n.bin")
    with h5py.File(tmp_path / "test_babble_snr-5_x.samp", "w") as file:
        for name, seed in (("noisy_raw", 3), ("clean_raw", 4)):
            file[f"0/{name}"] = sounds.pair(seed).noisy
    monkeypatch.chdir(tmp_path)
    changes = {"speech_file": "s.bin", "noise_file": "n.bin", "test_path": ".", "num_train": 5, "speech_len": 8000}
    found = READ_DATA(replace(MbqatSettings(), **changes))
    assert (len(found.train), len(found.test), found.test[0].noise, found.test[0].snr) == (5, 1, "babble", -5)
    crop = found.train.item(0, 0)
    assert len(crop.noisy) == 8000 and np.sqrt((crop.noisy**2).mean()) == pytest.approx(1, rel=1e-4)
    assert 0 < len(found.dev) <= 64
    embedded = READ_DATA(replace(MbqatSettings(), data_dir=str(ROOT / "egs/enhancement/data"), tr_snr=(3,)))
    assert embedded.train.item(0, 0).snr == 3


def test_all_folders_have_their_programs_and_settings() -> None:
    assert set(VARIANTS) == set(PROGRAMS)
    for folder, programs in PROGRAMS.items():
        there = {path.name for path in (FOLDERS / folder).iterdir() if path.is_file()}
        assert there == {*programs, VARIANTS[folder].settings}
        runs_of = MbqatSettings(), VARIANTS[folder]
        assert runs_of[0].training(runs_of[1], 320000).schedule.factor in (0.97, 0.98)


def test_a_program_starts_where_it_lies(tmp_path: Path) -> None:
    path = FOLDERS / "CRN_100k_MBQAT/model_100k_MBQAT.py"
    done = subprocess.run([str(path), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Train the network of this folder" in done.stdout
