"""A result is kept only while everything that it was made from is the same."""

import os
from pathlib import Path

import pytest

from kaldi_quant import made as module
from kaldi_quant.made import Made, Sources, make


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "final.mdl"
    path.write_text("first")
    return path


def result(model: Path, **settings: object) -> Made:
    return Made(model.parent / "out" / "loglikes.ark", Sources(settings, {"the model": [model]}))


def compute(made: Made) -> list[str]:
    """Makes the result where it must be made, and returns what is said."""
    said: list[str] = []

    def work() -> None:
        made.output.write_text("result")

    make(made, work, said.append)
    return said


def test_what_fits_is_kept(model: Path) -> None:
    assert result(model).why_again() == "it was not made before"
    assert compute(result(model, beam=15)) == []
    assert result(model, beam=15).why_again() is None
    said = compute(result(model, beam=15))
    assert said == [f"{model.parent}/out/loglikes.ark is kept: nothing that it was made from has changed"]


def test_other_content_under_the_old_time_and_size_is_noticed(model: Path) -> None:
    compute(result(model))
    times = model.stat().st_atime_ns, model.stat().st_mtime_ns
    model.write_text("other")
    os.utime(model, ns=times)
    assert result(model).why_again() == f"other content in the model ({model})"


def test_the_same_content_at_another_time_and_place_is_the_same(model: Path, tmp_path: Path) -> None:
    compute(result(model))
    os.utime(model, ns=(1, 1))
    assert result(model).why_again() is None
    copied = tmp_path / "copy.mdl"
    copied.write_text("first")
    sources = Sources({}, {"the model": [copied]})
    assert Made(tmp_path / "out" / "loglikes.ark", sources).why_again() is None


def test_a_folder_that_was_moved_is_kept(model: Path, tmp_path: Path) -> None:
    compute(result(model))
    (tmp_path / "out").rename(tmp_path / "moved")
    assert Made(tmp_path / "moved" / "loglikes.ark", Sources({}, {"the model": [model]})).why_again() is None


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ({"--beam": 15.0}, {"--beam": 13.0}, "--beam was 15.0 and is 13.0"),
        ({}, {"--beam": 13.0}, "--beam was not given and is 13.0"),
        ({"--preset": "w8a8"}, {}, "--preset was w8a8 and is not given"),
    ],
)
def test_another_option(model: Path, before: dict[str, object], now: dict[str, object], reason: str) -> None:
    compute(result(model, **before))
    assert result(model, **now).why_again() == reason


def test_files_that_come_and_go(model: Path, tmp_path: Path) -> None:
    config = tmp_path / "cmvn_opts"
    config.write_text("--norm-means=true")

    def with_config(*paths: Path) -> Made:
        return Made(tmp_path / "out" / "x", Sources({}, {"the model": [model], "cmvn_opts": paths}))

    compute(with_config())
    assert with_config(config).why_again() == "there was no cmvn_opts before"
    compute(with_config(config))
    assert with_config().why_again() == "there is no longer cmvn_opts"
    config.unlink()
    assert with_config(config).why_again() == f"other content in cmvn_opts ({config})"


def test_another_program(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute(result(model))
    monkeypatch.setattr(module, "program_digest", lambda: "another")
    assert result(model).why_again() == "the program or a library that computes has changed"


def test_a_result_that_was_touched_is_made_again(model: Path) -> None:
    compute(result(model))
    path = result(model).output
    path.write_text("by hand")
    assert result(model).why_again() == f"{path} was changed since"
    compute(result(model))
    path.unlink()
    assert result(model).why_again() == f"{path} is missing"


def test_a_step_that_was_interrupted_is_not_done(model: Path) -> None:
    made = result(model)
    made.begin()
    made.output.write_text("half")
    again = result(model)
    assert again.why_again() == "it was not finished" and again.is_unfinished()
    model.write_text("other")
    assert not result(model).is_unfinished()


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"format": 1, "files": 3}', '{"format": 1, "files": {"a": [{}]}}'])
def test_a_broken_record_keeps_nothing(model: Path, record: str) -> None:
    compute(result(model))
    (model.parent / "out" / ".made" / "loglikes.ark.json").write_text(record)
    assert result(model).why_again() == "it is not known what it was made from"


def test_commands_are_run_again(model: Path) -> None:
    sources = Sources({}, {"the model": [model]}, repeatable=False)
    compute(Made(model.parent / "x", sources))
    reason = Made(model.parent / "x", sources).why_again()
    assert reason == "it reads commands or standard input, whose output may differ"


def test_code_and_presets_are_part_of_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "b.yaml").write_text("2")
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    digests = set()
    for change in (None, "a.py", "b.yaml"):
        if change:
            (tmp_path / change).write_text("3")
        module.program_digest.cache_clear()
        digests.add(module.program_digest())
    module.program_digest.cache_clear()
    assert len(digests) == 3
