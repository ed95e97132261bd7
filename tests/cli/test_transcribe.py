"""``transcribe``: from audio of any kind to words."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from kaldi_quant.cli.main import run
from kaldi_quant.decode.wer import count_edits
from tests.vosk_layout import online_folder

RATE = 16000
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def wav(example: Path) -> Path:
    """Says "e four p p"."""
    return example / "wav/test030-006.wav"


def words(capsys: Capture, *arguments: object) -> list[str]:
    """The lines that are printed."""
    assert run(["transcribe", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_words_are_those_of_kaldis_program(example: Path, capsys: Capture) -> None:
    """Search and lattices are no copies of Kaldi's, so that a word may differ."""
    lines = (example / "reference/online2_wav.tdnnf1c.test_wav.txt").read_text().splitlines()
    expected = {name: text.split() for name, *rest in (line.split(" ", 1) for line in lines) for text in rest}
    paths = sorted((example / "wav").glob("*.wav"))
    found = words(capsys, online_folder(example), *paths)
    assert [line.split()[0] for line in found] == list(map(str, paths)) and len(paths) == len(expected) == 12
    assert sum(count_edits(expected[Path(path).stem], text).total for path, *text in map(str.split, found)) <= 2


def test_lines_of_json(vosk_model: Path, wav: Path, capsys: Capture) -> None:
    [line] = words(capsys, "--json", vosk_model, wav)
    found = json.loads(line)
    assert found["file"] == str(wav) and found["text"] == "e four p p"
    assert [entry["word"] for entry in found["result"]] == found["text"].split()
    length = soundfile.info(str(wav)).duration
    times = [time for entry in found["result"] for time in (entry["start"], entry["end"])]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= length
    assert all(0.5 < entry["conf"] <= 1 for entry in found["result"])


def test_pauses_end_utterances(vosk_model: Path, wav: Path, tmp_path: Path, capsys: Capture) -> None:
    samples, _ = soundfile.read(str(wav), dtype="int16")
    pause = np.random.default_rng(0).integers(-3, 4, 2 * RATE).astype(np.int16)
    soundfile.write(tmp_path / "twice.wav", np.concatenate([samples, pause, samples]), RATE)
    found = [json.loads(line) for line in words(capsys, "--json", vosk_model, tmp_path / "twice.wav")]
    assert len(found) > 1 and all(entry["file"] == str(tmp_path / "twice.wav") for entry in found)
    texts = [entry["text"] for entry in found if entry["text"]]
    assert texts[0] == "e four p p" and len(texts) == 2
    starts = [entry["start"] for utterance in found for entry in utterance.get("result", [])]
    assert starts == sorted(starts) and starts[4] > (len(samples) + len(pause)) / RATE
    [line] = words(capsys, "--endpoints=false", vosk_model, tmp_path / "twice.wav")
    assert line.startswith(f"{tmp_path}/twice.wav e four p p e")
    assert len(words(capsys, "--endpoints=false", "--json", vosk_model, tmp_path / "twice.wav")) == 1


def raw_audio(monkeypatch: pytest.MonkeyPatch, data: bytes, size: int) -> None:
    """Standard input gives so many bytes at once."""
    pieces: Iterator[bytes] = (data[begin : begin + size] for begin in range(0, len(data), size))
    stream = SimpleNamespace(buffer=SimpleNamespace(read1=lambda _: next(pieces, b"")))
    monkeypatch.setattr(sys, "stdin", stream)


@pytest.mark.parametrize(("rest", "size"), [(b"", 4001), (b"\x01", 333)])
def test_raw_audio_on_standard_input(
    rest: bytes, size: int, vosk_model: Path, wav: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """In pieces that part samples; half a sample at the end is left out."""
    samples, _ = soundfile.read(str(wav), dtype="int16")
    raw_audio(monkeypatch, samples.astype("<i2").tobytes() + rest, size)
    assert words(capsys, vosk_model, "-") == ["e four p p"]


def test_rates(vosk_model: Path, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Audio of a higher rate is resampled: that of a file by what it says, raw audio by an option."""
    samples, _ = soundfile.read(str(wav), dtype="int16")
    places = np.arange(2 * len(samples) - 1) / 2
    double = np.interp(places, np.arange(len(samples)), samples).astype(np.int16)
    soundfile.write(tmp_path / "double.wav", double, 2 * RATE)
    assert words(capsys, vosk_model, tmp_path / "double.wav") == [f"{tmp_path}/double.wav e four p p"]
    raw_audio(monkeypatch, double.astype("<i2").tobytes(), 10000)
    assert words(capsys, "--rate", 2 * RATE, vosk_model, "-") == ["e four p p"]


def test_of_two_channels_the_first_counts(vosk_model: Path, wav: Path, tmp_path: Path, capsys: Capture) -> None:
    samples, _ = soundfile.read(str(wav), dtype="int16")
    noise = np.random.default_rng(0).integers(-3000, 3000, len(samples)).astype(np.int16)
    soundfile.write(tmp_path / "both.flac", np.stack([samples, noise], 1), RATE)
    assert words(capsys, vosk_model, tmp_path / "both.flac") == [f"{tmp_path}/both.flac e four p p"]


def test_silence_and_no_samples(vosk_model: Path, tmp_path: Path, capsys: Capture) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE, np.int16), RATE)
    soundfile.write(tmp_path / "short.wav", np.zeros(10, np.int16), RATE)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), RATE)
    names = [str(tmp_path / f"{name}.wav") for name in ("silence", "short", "none")]
    assert words(capsys, vosk_model, *names) == names
    assert json.loads(words(capsys, "--json", vosk_model, names[2])[0]) == {"file": names[2], "text": ""}


def test_no_input_at_all(vosk_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    raw_audio(monkeypatch, b"", 100)
    assert words(capsys, vosk_model, "-") == []


def test_files_that_cannot_be_read_are_left_out(vosk_model: Path, wav: Path, tmp_path: Path, capsys: Capture) -> None:
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    (tmp_path / "empty.wav").touch()
    files = [tmp_path / "missing.wav", tmp_path / "nan.wav", tmp_path / "empty.wav"]
    assert run(["transcribe", "--max-bad-share", "0.8", *map(str, (vosk_model, *files, wav))]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [f"{wav} e four p p"]
    for name, reason in zip(files, ("there is no such file", "not finite", "no audio that can be read"), strict=True):
        assert any(str(name) in line and reason in line for line in output.err.splitlines())
    assert run(["transcribe", *map(str, (vosk_model, *files, wav))]) == 1
    assert "3 of 4 utterances could not be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rate", "8000", "{model}", "{wav}"], "--rate is for raw audio on standard input"),
        (["--beam", "-3", "{model}", "{wav}"], "--beam must be positive, found -3"),
        (["--frames-per-chunk", "0", "{model}", "{wav}"], "frames-per-chunk"),
        (["--graph", "elsewhere", "{model}", "{wav}"], "name none of them"),
        (["nowhere", "{wav}"], "there is no nowhere: expected a Vosk folder"),
        (["{model}", "nowhere.wav"], "none of the 1 utterances could be used"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    arguments: list[str], sentence: str, vosk_model: Path, wav: Path, capsys: Capture
) -> None:
    assert run(["transcribe", *(argument.format(model=vosk_model, wav=wav) for argument in arguments)]) == 1
    output = capsys.readouterr()
    assert sentence in output.err and "Traceback" not in output.err and not output.out
