"""The recogniser with Vosk's methods."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.recogniser import recognizer as recognizer_module
from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.recognizer import Recognizer
from tests.recogniser.conftest import RATE

TEXT = "u r six eight w"

# Prints by how many bytes a process grows between the second and the tenth time that it hears a recording.
_HEAR = """
import resource
import sys
from pathlib import Path
import numpy as np
from kaldi_quant.recogniser.models import find_parts, open_model
from kaldi_quant.recogniser.recognizer import Recognizer
audio = np.load(sys.argv[2])
made = Recognizer(open_model(find_parts(Path(sys.argv[1]))), int(sys.argv[3]))
made.SetWords(True)
def hear(times):
    for _ in range(times):
        for begin in range(0, len(audio), 8000):
            if made.AcceptWaveform(audio[begin : begin + 8000]):
                made.Result()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
before = hear(2)
print(hear(8) - before)
"""


def recognizer(model: Model, words: bool = True, alternatives: int = 0) -> Recognizer:
    made = Recognizer(model, RATE)
    made.SetWords(words)
    made.SetMaxAlternatives(alternatives)
    return made


def utterances(made: Recognizer, audio: np.ndarray, piece: int) -> list[dict[str, Any]]:
    """What is heard in pieces of audio."""
    found = []
    for begin in range(0, len(audio), piece):
        if made.AcceptWaveform(audio[begin : begin + piece].tobytes()):
            found.append(json.loads(made.Result()))
    return [*found, json.loads(made.FinalResult())]


def test_pieces_of_any_size_give_the_same(model: Model, speech: np.ndarray) -> None:
    whole = utterances(recognizer(model), speech, len(speech))
    assert whole[-1]["text"] == TEXT
    assert utterances(recognizer(model), speech, 137) == whole
    assert utterances(recognizer(model), speech, 8000) == whole
    short = speech[:6000]
    assert utterances(recognizer(model), short, 1) == utterances(recognizer(model), short, 6000)


def test_bytes_integers_and_floats_are_the_same_audio(model: Model, speech: np.ndarray) -> None:
    texts = []
    for audio in (
        speech.tobytes(),
        bytearray(speech.tobytes()),
        speech,
        speech.astype(np.float32),
        speech.astype(float),
    ):
        made = recognizer(model)
        made.AcceptWaveform(audio)
        texts.append(made.FinalResult())
    assert len(set(texts)) == 1


def test_words_have_times_and_confidences(model: Model, speech: np.ndarray) -> None:
    [found] = utterances(recognizer(model), speech, 8000)
    assert [word["word"] for word in found["result"]] == TEXT.split()
    ends = [time for word in found["result"] for time in (word["start"], word["end"])]
    assert ends == sorted(ends) and ends[0] > 0 and ends[-1] < len(speech) / RATE
    assert all(0.5 < word["conf"] <= 1 for word in found["result"])
    assert utterances(recognizer(model, words=False), speech, 8000) == [{"text": TEXT}]


def test_alternatives(model: Model, speech: np.ndarray) -> None:
    [found] = utterances(recognizer(model, alternatives=3), speech, 8000)
    assert found.keys() == {"alternatives"}
    texts = [alternative["text"] for alternative in found["alternatives"]]
    assert len(set(texts)) == 3 and texts[0] == TEXT
    costs = [alternative["confidence"] for alternative in found["alternatives"]]
    assert costs == sorted(costs, reverse=True)
    assert [word["word"] for word in found["alternatives"][0]["result"]] == TEXT.split()
    assert found["alternatives"][0]["result"][0].keys() == {"word", "start", "end"}


def test_partial_results_grow(model: Model, speech: np.ndarray) -> None:
    made = recognizer(model)
    partial = []
    for begin in range(0, len(speech), 8000):
        made.AcceptWaveform(speech[begin : begin + 8000])
        partial.append(json.loads(made.PartialResult())["partial"])
    assert partial[0] == "" and partial[-1] == TEXT
    made.SetPartialWords(True)
    found = json.loads(made.PartialResult())
    assert found["partial"] == TEXT
    assert found["partial_result"][0].keys() == {"word", "start", "end", "conf"}


def test_an_utterance_ends_in_a_pause_and_times_go_on(model: Model, with_pauses: np.ndarray) -> None:
    made = recognizer(model)
    found = utterances(made, with_pauses, 3200)
    said = [one for one in found if one["text"]]
    assert [one["text"].split()[:4] for one in said] == [["two", "z", "s", "zero"], ["u", "r", "six", "eight"]]
    # The second utterance of the audio begins behind the first one (2.088 s) and its pause.
    assert 2.088 + 1.5 < said[1]["result"][0]["start"] < 2.088 + 1.5 + 0.5
    # Times of the next stream go on where this one ended.
    again = utterances(made, with_pauses, 3200)
    assert again[0]["result"] == _later(found[0]["result"], len(with_pauses) / RATE)


def _later(words: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    return [
        word | {"start": pytest.approx(word["start"] + seconds), "end": pytest.approx(word["end"] + seconds)}
        for word in words
    ]


def test_the_pipeline_begins_anew_after_many_frames(
    model: Model, with_pauses: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = utterances(recognizer(model), with_pauses, 3200)
    monkeypatch.setattr(recognizer_module, "_MOST_FRAMES", 50)
    made = recognizer(model)
    first = made._pipeline
    found = utterances(made, with_pauses, 3200)
    assert made._pipeline is not first
    assert found[0] == expected[0]
    assert found[1]["text"].split()[:4] == expected[1]["text"].split()[:4]
    # A few frames that waited are lost, but not their time.
    assert found[1]["result"][1]["end"] == pytest.approx(expected[1]["result"][1]["end"], abs=0.05)


def test_where_nothing_runs_there_is_nothing(model: Model, speech: np.ndarray) -> None:
    made = recognizer(model)
    for method in (made.Result, made.FinalResult, made.PartialResult):
        assert json.loads(method()) == {"text": ""}
    assert not made.AcceptWaveform(b"")
    assert json.loads(made.PartialResult()) == {"partial": ""}
    assert json.loads(made.FinalResult()) == {"text": ""}
    made.SetMaxAlternatives(2)
    assert json.loads(made.Result()) == {"alternatives": [{"text": "", "confidence": 1.0}]}
    made.SetMaxAlternatives(0)
    made.AcceptWaveform(speech)
    made.Reset()
    assert json.loads(made.FinalResult()) == {"text": ""}
    made.AcceptWaveform(speech)
    assert json.loads(made.FinalResult())["text"].endswith("six eight w")


@pytest.mark.parametrize("level", [0, 32767])
def test_silence_and_clipping_have_results(model: Model, level: int) -> None:
    audio = np.full(RATE // 2, level, np.int16)
    audio[::2] = -level
    for found in utterances(recognizer(model), audio, 3200):
        assert isinstance(found["text"], str)


@pytest.mark.parametrize(
    ("audio", "what"),
    [
        (np.array([0.0, np.nan], np.float32), "not finite"),
        (np.array([np.inf]), "not finite"),
        (b"\0\0\0", "3 bytes"),
        (np.zeros((2, 2), np.int16), "one channel"),
        (np.zeros(2, np.int32), "16-bit integers or floats"),
        ([0, 1], "list"),
    ],
)
def test_other_audio_is_refused_and_none_of_it_taken(model: Model, speech: np.ndarray, audio: Any, what: str) -> None:
    made = recognizer(model)
    made.AcceptWaveform(speech[:10000])
    with pytest.raises(DataError, match=what):
        made.AcceptWaveform(audio)
    made.AcceptWaveform(speech[10000:])
    assert json.loads(made.FinalResult())["text"] == TEXT


def test_impossible_options_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="negative"):
        recognizer(model, alternatives=-1)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(DataError, match="rate"):
            Recognizer(model, rate)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's memory in this way")
def test_memory_does_not_grow(folder: Path, with_pauses: np.ndarray, tmp_path: Path) -> None:
    audio = tmp_path / "audio.npy"
    np.save(audio, with_pauses)
    # In a process of its own: what other tests leave to be freed would blur it.
    command = [sys.executable, "-c", _HEAR, folder, audio, str(RATE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # A minute more: the audio and its log-likelihoods alone would be 3 MB, and tokens of the search far more.
    assert int(done.stdout) < 3_000_000
