"""Ratios of speed, and the runners that are measured."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant import speed
from kaldi_quant.errors import DataError, FormatError, MissingDependencyError, UsageError
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.report import runners
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.runners import Speech, kaldi_runner, models_of, read_speech, runners_of
from kaldi_quant.speed import Speed, Timed, measure, one_thread
from tests.references import load_network
from tests.report.decode_folders import EXAMPLE, write_folder

MODEL = EXAMPLE / "exp" / "chain" / "tdnn1a_sp" / "final.mdl"
FEATS = f"scp:{EXAMPLE}/data/test_hires/feats.scp"


@dataclass
class Loaded:
    model: AcousticModel
    subsampling: int = 3
    is_integer: bool = False


def load(path: Path) -> Loaded:
    return Loaded(load_network(path))


def taking(*seconds: float) -> Callable[[], Timed]:
    """A runner of 100 frames; the first value is its warm-up."""
    left = list(seconds)
    return lambda: Timed(100, left.pop(0))


def test_ratios_are_made_within_a_round() -> None:
    # The machine is slower in the second and third round; the ratio does not show it.
    speeds = measure({"float": taking(9, 1, 4, 2), "fast": taking(9, 0.5, 2, 0.8)}, rounds=3)
    assert speeds["float"] == Speed(50.0, 1.0, 1.0, 1.0)
    assert speeds["fast"] == Speed(125.0, 2.0, 2.0, 2.5)


def test_the_clock_and_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def runner(name: str, seconds: float) -> Callable[[], int]:
        def run() -> int:
            calls.append(name)
            now[0] += seconds
            return 300

        return run

    speeds = measure({"a": runner("a", 3.0), "b": runner("b", 1.0)}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert (speeds["a"].frames_per_second, speeds["b"].frames_per_second, speeds["b"].ratio) == (100.0, 300.0, 3.0)


def test_no_rounds() -> None:
    with pytest.raises(UsageError, match="--speed-rounds must be at least 1, found 0"):
        measure({"a": taking(1)}, rounds=0)


def test_one_thread_within_the_block_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_speech_is_whole_utterances_up_to_some_seconds() -> None:
    feats = list(read_matrices(FEATS))
    speech = read_speech(FEATS, seconds=(len(feats[0][1]) + 1) / 100)
    assert [name for name, _ in speech.utterances] == [name for name, _ in feats[:2]]
    assert speech.frames == len(feats[0][1]) + len(feats[1][1])
    assert len(read_speech(FEATS, 1e9).utterances) == 400


def test_errors_of_speech(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--speed-seconds must be positive, found 0"):
        read_speech(FEATS, 0)
    with pytest.raises(FormatError, match="cannot be read"):
        read_speech(f"ark:{tmp_path}/missing", 1)
    with matrix_writer(f"ark:{tmp_path}/empty.ark") as writer:
        writer.write("a", np.zeros((0, 0), np.float32))
    with pytest.raises(DataError, match="there are no frames to measure on"):
        read_speech(f"ark:{tmp_path}/empty.ark", 1)


WORDS = {"u1": ["a", "b"], "u2": ["c"]}


def folders(tmp_path: Path, **models: object) -> Comparison:
    """A folder for each name, whose record names the model."""
    paths = [
        write_folder(tmp_path / name, WORDS, {"9_0.0": WORDS}, None if model is None else {"model": str(model)})
        for name, model in models.items()
    ]
    return compare(paths, ComparisonOptions(replications=100))


def test_models_come_from_records(tmp_path: Path) -> None:
    other = tmp_path / "other.mdl"
    other.write_bytes(b"")
    comparison = folders(tmp_path, first=MODEL, unknown=None, gone="gone.mdl", other=other)
    assert models_of(comparison) == {"first": MODEL, "other": other}
    assert list(models_of(comparison, other)) == ["other", "first"]
    assert list(models_of(comparison, MODEL)) == ["first", "other"]
    third = tmp_path / "third.mdl"
    with pytest.raises(DataError, match=r"--float-model .*/third.mdl does not exist"):
        models_of(comparison, third)
    third.write_bytes(b"")
    assert models_of(comparison, third) == {"float model": third, "first": MODEL, "other": other}


def test_something_must_be_the_first(tmp_path: Path) -> None:
    comparison = folders(tmp_path, first=None, second=MODEL)
    with pytest.raises(
        UsageError, match=r"relative to the model of the first folder, .*first, whose quantization.json"
    ):
        models_of(comparison)
    assert list(models_of(comparison, MODEL)) == ["second"]
    with pytest.raises(UsageError, match="the name nnet3-compute is reserved for a row of the speed table"):
        models_of(compare([f"nnet3-compute={tmp_path}/second"]))


def test_a_model_runs() -> None:
    speech = Speech(list(read_matrices(FEATS))[:2])
    found = runners_of({"float": MODEL}, load, speech)
    assert list(found) == ["float"] and found["float"]() == speech.frames > 200


def test_what_a_model_cannot_compute_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    speech = Speech([("a", np.zeros((50, 40), np.float32)), ("b", np.zeros((50, 13), np.float32))])
    with pytest.raises(DataError, match=r"final.mdl: cannot compute 1 utterances of the speed measurement"):
        runners_of({"float": MODEL}, load, speech)["float"]()
    assert "utterance b: its features have 13 columns" in caplog.text


def fake_kaldi(root: Path, script: str) -> Path:
    program = root / "src" / "nnet3bin" / "nnet3-compute"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return root


SPEECH = Speech([("a", np.ones((100, 40), np.float32)), ("b", np.ones((52, 40), np.float32))])


def test_kaldi_is_called_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runners._time

    def seconds(command: list[str]) -> int:
        assert run(command) > 0
        return len(list(read_matrices(command[-2])))

    monkeypatch.setattr(runners, "_time", seconds)
    root = fake_kaldi(
        tmp_path, f'echo "$@" "$OMP_NUM_THREADS" >> {tmp_path}/calls; cp "${{5#ark:}}" {tmp_path}/feats.ark'
    )
    found = runners_of({"float": MODEL}, load, SPEECH, str(root))
    assert list(found) == ["float", "nnet3-compute"]
    assert found["nnet3-compute"]() == Timed(4 * 152, 10 - 2)
    long, short = (line.split() for line in (tmp_path / "calls").read_text().splitlines())
    assert long[:4] == ["--use-priors=false", "--frame-subsampling-factor=3", "--frames-per-chunk=102", str(MODEL)]
    assert long[-1] == short[-1] == "1"
    assert [name for name, _ in read_matrices(f"ark:{tmp_path}/feats.ark")] == ["a-0", "b-0"]


def test_the_start_up_time_of_kaldi_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(command: list[str]) -> float:
        return 5.0 + sum(len(feats) for _, feats in read_matrices(command[-2])) / 1000

    monkeypatch.setattr(runners, "_time", seconds)
    timed = kaldi_runner(fake_kaldi(tmp_path, ""), MODEL, 3, SPEECH)()
    assert isinstance(timed, Timed) and timed.frames / timed.seconds == pytest.approx(1000)
    monkeypatch.setattr(runners, "_time", lambda command: 5.0)
    with pytest.raises(DataError, match="152 frames are too few to tell the speed of nnet3-compute from its start-up"):
        kaldi_runner(tmp_path, MODEL, 3, SPEECH)()


def test_kaldi_that_fails_or_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"KALDI_ROOT .* has no src/nnet3bin/nnet3-compute"):
        kaldi_runner(tmp_path / "none", MODEL, 3, SPEECH)
    root = fake_kaldi(tmp_path, 'echo "ERROR (nnet3-compute) no luck" >&2; exit 255')
    with pytest.raises(DataError, match=r"nnet3-compute ended with status 255: ERROR \(nnet3-compute\) no luck"):
        kaldi_runner(root, MODEL, 3, SPEECH)()


def test_kaldi_does_not_run_integer_models(tmp_path: Path) -> None:
    root = str(fake_kaldi(tmp_path, ""))
    assert list(runners_of({"w8": MODEL}, lambda path: Loaded(load_network(path), 3, True), SPEECH, root)) == ["w8"]
