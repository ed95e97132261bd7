"""Results are Vosk's: partial ones, ends of utterances, words, times, confidences and alternatives."""

import json
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.models import find_parts, open_model
from kaldi_quant.recogniser.recognizer import Recognizer
from tests.recogniser.conftest import RATE, samples

pytestmark = pytest.mark.usefixtures("vosk")

PIECE = 3200


def vosks(folder: Path, paths: list[Path], alternatives: int) -> list[Any]:
    program = Path(__file__).parent / "vosk_results.py"
    command = [sys.executable, str(program), str(folder), str(alternatives), str(PIECE), *map(str, paths)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return [json.loads(line) for line in out.splitlines()]


def own(model: Model, path: Path, alternatives: int) -> Any:
    audio = samples(path)
    recognizer = Recognizer(model, RATE)
    recognizer.SetWords(True)
    recognizer.SetMaxAlternatives(alternatives)
    found = []
    for begin in range(0, len(audio), PIECE):
        is_end = recognizer.AcceptWaveform(audio[begin : begin + PIECE])
        found.append([is_end, json.loads(recognizer.Result() if is_end else recognizer.PartialResult())])
    return [*found, [True, json.loads(recognizer.FinalResult())]]


def near(value: Any, tolerance: float) -> Any:
    """The same with numbers that need not be the same."""
    if isinstance(value, dict):
        return {key: near(one, tolerance) for key, one in value.items()}
    if isinstance(value, list):
        return [near(one, tolerance) for one in value]
    return value if isinstance(value, bool | str) else pytest.approx(value, abs=tolerance)


def test_all_results_of_the_examples_wavs(model: Model, folder: Path, example: Path) -> None:
    paths = sorted((example / "wav").glob("*.wav"))
    for path, expected in zip(paths, vosks(folder, paths, 0), strict=True):
        # Confidences vary with the arcs at the edge of the lattice beam.
        assert near(own(model, path, 0), 0.01) == expected, path


def test_alternatives(model: Model, folder: Path, example: Path) -> None:
    paths = sorted((example / "wav").glob("*.wav"))[::4]
    for path, expected in zip(paths, vosks(folder, paths, 3), strict=True):
        for alternative in expected[-1][1]["alternatives"]:
            # Vosk's texts of alternatives end with a space.
            alternative["text"] = alternative["text"].strip()
        assert near(own(model, path, 3), 1e-3) == expected, path


def test_utterances_end_where_vosks_do(model: Model, folder: Path, with_pauses: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "pauses.wav"
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, RATE, 0, "NONE", ""))
        stream.writeframes(with_pauses.tobytes())
    [expected] = vosks(folder, [path], 0)
    assert sum(is_end for is_end, _ in expected) == 3
    assert near(own(model, path, 0), 0.01) == expected


def test_with_ivectors(folder: Path, example: Path, tmp_path: Path) -> None:
    online = example / "exp/chain/tdnnf1c_sp_online"
    if not (online / "final.mdl").is_file():
        pytest.skip("the example has no network with i-vectors")
    adapted = shutil.copytree(folder, tmp_path / "adapted")
    shutil.copy(online / "final.mdl", adapted / "am/final.mdl")
    (adapted / "conf/mfcc.conf").write_text((online / "conf/mfcc.conf").read_text() + "--dither=0\n")
    shutil.copytree(online / "ivector_extractor", adapted / "ivector")
    shutil.copy(online / "conf/splice.conf", adapted / "ivector/splice.conf")
    paths = sorted((example / "wav").glob("*.wav"))[::3]
    model = open_model(find_parts(adapted))
    for path, expected in zip(paths, vosks(adapted, paths, 0), strict=True):
        assert near(own(model, path, 0), 0.02) == expected, path
