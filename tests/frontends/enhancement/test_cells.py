"""Cells of the table of speech enhancement, and the recipe that makes them, on sines in the place of speech."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import kaldi_quant as kq
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.cells import read_cell
from kaldi_quant.frontends.enhancement.cells import CellOptions, EnhancementCells, cells_of, make_noisy
from kaldi_quant.frontends.enhancement.data import EnhancementSet, Pair
from kaldi_quant.frontends.enhancement.enhancers import open_enhancer
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS
from kaldi_quant.frontends.enhancement.scores.cell_files import read_cell_scores
from kaldi_quant.frontends.enhancement.streaming import FrameNetwork
from kaldi_quant.frontends.enhancement.training.checkpoint import read_network, write_network
from tests.frontends.enhancement.training import sounds
from tests.recipes import ROOT, refused_by, run

OPTIONS = CellOptions(calibration=2, calibration_seconds=0.2, epochs=1, batch_size=2, seconds=0.2, heard=1)
SIZES = {
    "crn-100k": {"channels": (1, 1, 1), "decoder": (1, 1, 1), "layers": 1},
    "tcn-100k": {"channels": (4, 6)},
    "stft-tcnn": {"latent": 8, "n_blocks": 1, "num_layers": 1},
}


class Pairs(list[Pair]):
    def digest(self) -> str:
        return str(len(self))


def data() -> EnhancementSet:
    pairs = [sounds.pair(seed, 12000) for seed in (1, 2)]
    test = Pairs(Pair(f"p{place}", pair.noisy, pair.clean, "hum", 5.0) for place, pair in enumerate(pairs))
    return EnhancementSet("toy", sounds.RATE, sounds.Train(4), test, test)  # type: ignore[arg-type]


def checkpoint(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / f"{name}.pth"
    write_network(path, name, NETWORKS[name].build(**SIZES[name]), {}, SIZES[name])
    return path


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> EnhancementCells:
    folder = tmp_path_factory.mktemp("cells")
    path = checkpoint("tcn-100k", folder)
    return EnhancementCells(folder / "exp", read_network(path), path, "cells.py", data(), OPTIONS)


@pytest.fixture(scope="module")
def made(cells: EnhancementCells) -> dict[str, Path]:
    return {name: cells.make(name) for name in ("float", "ours-w8a8", "mbqat-tcn", "onnxruntime-ptq")}


def test_cells_have_scores_sounds_and_sizes(made: dict[str, Path]) -> None:
    for name, folder in made.items():
        cell, score = read_cell(folder)
        assert (cell.network, cell.method) == ("tcn-100k", name)
        assert cell.bytes == (folder / cell.file).stat().st_size
        scores = read_cell_scores(folder)
        assert {"PESQ", "STOI", "SI-SDR", "SNR", "MSE"} <= set(scores)
        assert cell.score == score.value == scores["PESQ"].value
        assert len(list((folder / "est_predictions").glob("*.wav"))) == 3 * OPTIONS.heard
    assert read_cell(made["ours-w8a8"])[0].bytes < read_cell(made["float"])[0].bytes


def test_what_was_scored_is_what_is_deployed(cells: EnhancementCells, made: dict[str, Path]) -> None:
    folder = made["ours-w8a8"]
    wave = cells.data.test[0].noisy
    # The artefact names its network, and gives what the ONNX file gives.
    whole = open_enhancer("x", str(folder / "quantized.safetensors")).enhance(wave)
    scored = open_enhancer("y", str(folder / "network.onnx"), "tcn-100k").enhance(wave)
    torch.testing.assert_close(torch.from_numpy(whole), torch.from_numpy(scored), atol=1e-6, rtol=0)
    # So does the file for one frame of a stream.
    stream = FrameNetwork.of_onnx(folder / "network_fixed.onnx")
    around = NETWORKS["tcn-100k"].around
    inputs = around.inputs(around.stft.spectrum(torch.from_numpy(wave)[None]))
    quantized = kq.load(folder / "quantized.safetensors")
    assert isinstance(quantized, kq.Quantized)
    expected, states, found = quantized.network.model()(inputs), stream.states, []
    for frame in inputs.split(1, 1):
        output, states = stream.run(frame, states)
        found.append(output)
    torch.testing.assert_close(torch.cat(found, 1), expected, atol=1e-6, rtol=0)


def test_a_cell_is_kept_until_what_made_it_changes(
    cells: EnhancementCells, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EnhancementCells, "work", lambda *given: pytest.fail("it is made again"))
    assert cells.make("float") == made["float"]
    with pytest.raises(pytest.fail.Exception):
        replace(cells, options=replace(OPTIONS, heard=2)).make("float")


def test_a_network_that_sees_later_frames_has_no_stream(tmp_path: Path) -> None:
    path = checkpoint("stft-tcnn", tmp_path)
    cells = EnhancementCells(tmp_path / "exp", read_network(path), path, "cells.py", data(), OPTIONS)
    folder = cells.make("float")
    assert (folder / "network.onnx").is_file() and not (folder / "network_fixed.onnx").exists()


def test_a_cell_tells_how_far_offsets_moved(tmp_path: Path) -> None:
    path = checkpoint("crn-100k", tmp_path)
    cells = EnhancementCells(tmp_path / "exp", read_network(path), path, "cells.py", data(), OPTIONS)
    assert read_cell(cells.make("mbqat"))[0].details["snapping"]["offsets"] > 0


def test_names_of_cells(cells: EnhancementCells) -> None:
    assert "mbqat-tcn" in cells_of("tcn-100k") and "mbqat-tcn" not in cells_of("crn-100k")
    with pytest.raises(UsageError, match="tcn-100k has no cell 'w8a8', expected one of float, standard-qat"):
        cells.make("w8a8")


def test_onnxruntime_needs_the_float_cell(cells: EnhancementCells, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"network\.onnx, of which onnxruntime-ptq is made: make the cell float first"):
        replace(cells, folder=tmp_path).make("onnxruntime-ptq")


def test_noisy_speech_is_scored_once(tmp_path: Path) -> None:
    folder = make_noisy(tmp_path, data())
    scores = folder / "scores.json"
    before = scores.stat().st_mtime_ns
    assert make_noisy(tmp_path, data()) == folder and scores.stat().st_mtime_ns == before
    assert (folder / "conditions.tsv").is_file()


def test_the_recipe_trains_and_makes_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.frontends.enhancement.data.read_enhancement", lambda *given: data())
    config, options = tmp_path / "network.yaml", tmp_path / "cells.yaml"
    config.write_text("{network: tcn-100k, sizes: {channels: [4, 6]}, epochs: 1, batch_size: 2, seconds: 0.2}")
    options.write_text("{calibration: 2, calibration_seconds: 0.2, heard: 0}")
    common = ["--data-dir", tmp_path, "--seed", 3]
    network = tmp_path / "train/network.pth"
    trained = run("egs/enhancement/train.py", "--config", config, *common, "--output", network)
    assert trained.status == 0, trained.stderr
    assert read_network(network).made["training"]["seed"] == 3
    config.write_text(config.read_text().replace("[4, 6]", "[4, 5]"))
    beside = run("egs/enhancement/train.py", "--config", config, *common, "--output", network.with_name("other.pth"))
    assert beside.status == 0, beside.stderr
    done = run(
        "egs/enhancement/cells.py", "--config", options, *common, "--network", network, "--exp-dir", tmp_path, "float"
    )
    assert done.status == 0, done.stderr
    folder = tmp_path / "tcn-100k/float"
    assert str(folder) in done.stdout and "--seed 3" in read_cell(folder)[0].command
    assert "--layout" not in read_cell(folder)[0].command
    elsewhere = ("--layout", "valentini", "--exp-dir", tmp_path / "other", "float")
    done = run("egs/enhancement/cells.py", "--config", options, *common, "--network", network, *elsewhere)
    assert done.status == 0, done.stderr
    assert "--layout valentini --seed 3" in read_cell(tmp_path / "other/tcn-100k/float")[0].command
    options.write_text("calibrations: 2")
    done = run("egs/enhancement/cells.py", "--config", options, *common, "--network", network)
    assert done.status == 1 and "there is no key 'calibrations'; keys and defaults are calibration (64)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stages", "1"), "there is no option --stages"),
        (("--stage", "5"), "--stage 5 is not one of 0 to 4"),
        (("--stage",), "--stage needs a value"),
        (("--nj", "0"), "--nj 0: expected a number of 1 or more"),
        (("--seeds", "a"), "--seeds a: expected numbers with commas between them"),
        (("--networks", "crn-100k,rnn"), "--networks: rnn is not one of crn-100k, tcn-100k, stft-tcnn, crn"),
        (("--data-dir", "/nowhere"), "--data-dir /nowhere does not exist: expected speech for enhancement"),
        (("--checkpoints", "/nowhere"), "--checkpoints /nowhere has no 0/crn-100k.pth: --stage 0 trains it"),
    ],
)
def test_what_run_sh_cannot_do_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    assert refused_by("egs/enhancement/run.sh", *arguments) == f"egs/enhancement/run.sh: {sentence}"


def test_run_sh_names_a_missing_configuration(tmp_path: Path) -> None:
    sentence = refused_by("egs/enhancement/run.sh", "--conf-dir", tmp_path, "--networks", "tcn-100k")
    assert sentence == f"egs/enhancement/run.sh: --conf-dir {tmp_path} has no tcn-100k.yaml"


def test_the_networks_that_are_shipped_are_of_their_kinds() -> None:
    for name in ("crn-100k", "tcn-100k", "stft-tcnn"):
        assert read_network(ROOT / f"egs/enhancement/checkpoints/0/{name}.pth").name == name
