"""Vosk's folders around integer models: ``quantize --vosk-model``, from a folder to a folder."""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError
from kaldi_quant.formats.vosk import copy_vosk_folder
from kaldi_quant.kaldi.vosk_folder import VoskFolder
from tests.vosk_layout import vosk_layout

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"am/final.mdl", "am/quantized.safetensors", "am/quantization.json"}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def wavs(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short recordings."""
    folder = tmp_path_factory.mktemp("wavs")
    for name in ("test000-000", "test030-006"):
        shutil.copy(example / f"wav/{name}.wav", folder)
    return folder


@pytest.fixture(scope="module")
def quantized(vosk_model: Path, example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the model in 8 bits, which tests leave as it is."""
    out = tmp_path_factory.mktemp("quantized") / "model"
    # All twelve recordings: of the two alone, it is chance whether integers lose a word.
    assert run(["quantize", "--vosk-model", str(vosk_model), "--bits", "8", str(example / "wav"), str(out)]) == 0
    return out


def files(folder: Path) -> set[str]:
    """The names of all files, but those that are hidden."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if not path.name.startswith(".")}


def test_all_but_the_model_is_copied(vosk_model: Path, quantized: Path) -> None:
    assert files(quantized) == files(vosk_model) | MODELS
    others = sorted(files(vosk_model) - MODELS)
    assert len(others) > 8
    assert filecmp.cmpfiles(vosk_model, quantized, others, shallow=False)[0] == others
    assert not filecmp.cmp(vosk_model / "am/final.mdl", quantized / "am/final.mdl", shallow=False)
    assert os.path.getsize(quantized / "am/quantized.safetensors") < 0.3 * os.path.getsize(vosk_model / "am/final.mdl")


def test_integers_give_the_words_of_the_float_model(
    vosk_model: Path, quantized: Path, wavs: Path, capsys: Capture
) -> None:
    paths = sorted(map(str, wavs.iterdir()))
    found = []
    for words in ([str(vosk_model)], [str(quantized)], ["--float", str(quantized)]):
        assert run(["transcribe", *words, *paths]) == 0
        found.append(capsys.readouterr().out.splitlines())
    assert [line.split()[1:] for line in found[0]] == [["two", "z", "s", "zero"], ["e", "four", "p", "p"]]
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("vosk")
def test_vosk_loads_the_folder(quantized: Path, wavs: Path) -> None:
    command = [sys.executable, str(ROOT / "tests/vosk_words.py"), str(quantized), *sorted(map(str, wavs.iterdir()))]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    assert found == ["two z s zero", "e four p p"]


def test_an_integer_model_beside_the_float_one_is_not_copied(example: Path, tmp_path: Path) -> None:
    source = vosk_layout(tmp_path / "old", example, old=True)
    (source / "quantized.safetensors").write_bytes(b"another's")
    copied = copy_vosk_folder(VoskFolder.read(source), tmp_path / "out")
    assert copied == tmp_path / "out"
    assert files(copied) == files(source) - {"final.mdl", "quantized.safetensors"}


def test_what_an_interrupted_run_left_is_completed(vosk_model: Path, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/mfcc.conf").write_text("--num-")
    assert copy_vosk_folder(VoskFolder.read(vosk_model), tmp_path) == tmp_path / "am"
    assert (tmp_path / "conf/mfcc.conf").read_text() == (vosk_model / "conf/mfcc.conf").read_text()


@pytest.mark.parametrize("place", ["", "am", "further/within"])
def test_a_folder_is_not_copied_into_itself(place: str, example: Path, tmp_path: Path) -> None:
    source = vosk_layout(tmp_path, example)
    before = files(source)
    with pytest.raises(DataError, match=r"is within .*, which is copied: name another folder"):
        copy_vosk_folder(VoskFolder.read(source), source / place)
    assert files(source) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{wavs}"], "--vosk-model: expected WAVS OUT-DIR, found 1 arguments"),
        (["{model}/am/final.mdl", "{wavs}", "{out}"], "--vosk-model: expected WAVS OUT-DIR, found 3 arguments"),
        (["{wavs}", "{model}/quantized"], "which is copied: name another folder"),
        (["--online-ivectors", "ark:none.ark", "{wavs}", "{out}"], "i-vectors come from the folder's own extractor"),
        (["nowhere", "{out}"], "nowhere"),
        (["{model}/am", "{out}"], "has no recordings"),
        (["{wavs}", "{model}/am/final.mdl"], "is a file: give a folder for the results"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    arguments: list[str], sentence: str, vosk_model: Path, wavs: Path, tmp_path: Path, capsys: Capture
) -> None:
    values = {"model": str(vosk_model), "wavs": str(wavs), "out": str(tmp_path / "out")}
    command = ["quantize", "--vosk-model", str(vosk_model), *(word.format(**values) for word in arguments)]
    assert run(command) == 1
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert not (tmp_path / "out").exists() and not (vosk_model / "quantized").exists()


def test_no_vosk_folder(wavs: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["quantize", "--vosk-model", str(wavs), str(wavs), str(tmp_path / "out")]) == 1
    assert "is no folder of a Vosk model" in capsys.readouterr().err
