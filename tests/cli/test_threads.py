"""``--num-threads``: what takes it, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kaldi_quant.cli import main as cli
from kaldi_quant.cli.options import arguments_of
from kaldi_quant.cli.recipes.__main__ import RECIPES
from kaldi_quant.cli.recipes.__main__ import main as run_recipe
from kaldi_quant.cli.train import command as train_verb
from kaldi_quant.cli.training_options import TrainingArguments
from kaldi_quant.decode.jobs import JobArray, JobFailure

_COMPUTING = ("forward", "calibrate", "quantize", "sensitivity", "search", "report", "train", "qat", "chain-prob")


@pytest.mark.parametrize("name", [*_COMPUTING, *RECIPES])
def test_what_computes_takes_a_number_of_threads(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run: Callable[[list[str]], int] = run_recipe if name in RECIPES else cli.run
    assert run([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--num-threads INTEGER CPU threads; 0: as many as there are cores" in text
    assert run([name, "--num-threads=-1"]) == 1
    assert capsys.readouterr().err.endswith(": --num-threads must be from 0 to 1024, found -1\n")


@pytest.mark.parametrize("script", ["run_tdnn.py", "run_tdnn_qat.py"])
def test_training_recipes_hand_it_on(
    script: str, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, list[str]] = {}
    monkeypatch.chdir(tmp_path)
    for module in ("training", "quantized_training", "quantization"):
        monkeypatch.setattr(
            f"kaldi_quant.cli.recipes.{module}.call_verb",
            lambda verb, words, log: calls.update({verb: [str(word) for word in words]}) or [],
        )
    monkeypatch.setattr("kaldi_quant.cli.recipes.training_stages.call_verb", lambda verb, words, log: None)
    monkeypatch.setattr(
        "kaldi_quant.cli.recipes.training_stages.run_forward_pass.main",
        lambda words, **_: calls.update({"forward pass": words}),
    )
    monkeypatch.setattr("kaldi_quant.made.Made.finish", lambda *_: None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/0.mdl").write_bytes((example / "exp/chain/tdnn1a_sp/final.mdl").read_bytes())
    options = ["--stage=5", f"--dir={tmp_path}/out", "--num-threads=3", "--lr-initial=1e-4", "--lr-final=1e-5"]
    assert run_recipe([script, *options, str(example)]) == 0
    trained = "train" if script == "run_tdnn.py" else "qat"
    assert "--num-threads=3" in calls[trained] and "--num-threads=3" in calls["forward pass"]


@pytest.mark.parametrize(
    ("options", "threads", "expected"),
    [
        ([], 0, "1"),
        ([], 2, "2"),
        ([], 9, "4"),
        (["--cmd=run.pl"], 9, "4"),
        (["--cmd=queue.pl --mem 4G"], 9, "9"),
        (["--cmd=queue.pl"], 0, "1"),
    ],
)
def test_training_jobs_share_the_cores_of_their_machine(
    options: list[str], threads: int, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("kaldi_quant.cores._shares", lambda *_: iter(()))
    arrays: list[JobArray] = []

    def record(array: JobArray, cmd: str | None, poll: Callable[[], None]) -> list[JobFailure]:
        arrays.append(array)
        return []

    monkeypatch.setattr("kaldi_quant.decode.jobs.run_jobs", record)
    words = ["--num-jobs=2", *options, "model", "egs", "out"]
    params = train_verb.make_context("train", words, resilient_parsing=True).params
    jobs = arguments_of(TrainingArguments, params).jobs(threads)
    assert jobs is not None
    assert jobs.run(2, tmp_path / "train.JOB.log", ["true"]) == {}
    assert arrays[0].environment["OMP_NUM_THREADS"] == expected
