"""``run_enhanced.sh`` on two utterances: all combinations in one table; what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes import run

RECIPE = "run_enhanced.sh"
QUICK = ("--preset", "baseline", "--calibration-utterances", 4, "--formats", "none", "--nj", 1, "--beam=7")


@pytest.fixture(scope="module")
def data(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two utterances of the example's audio."""
    folder = tmp_path_factory.mktemp("words") / "two"
    folder.mkdir()
    for name in ("text", "utt2spk", "wav.scp"):
        lines = (example / "data/test_wav" / name).read_text().splitlines(keepends=True)[:2]
        (folder / name).write_text("".join(lines).replace(" wav/", f" {example}/wav/"))
    return folder


def test_two_utterances(data: Path) -> None:
    out = data.parent / "out"
    options = ("--noises", "coloured", "--snrs", "20", "--networks", "s=spectral-subtraction", "--replications", 200)
    words = (*QUICK, *options, "--data-dir", data, "--out-dir", out)
    first = run(RECIPE, *words)
    assert first.status == 0, first.stderr
    # Each decoding prints its own score first.
    lines = [line for line in first.stdout.splitlines() if not line.startswith("%WER")]
    assert lines[0].startswith("# s, acoustic model float: ") and "where no noise was added" in lines[0]
    rows = [line.split() for line in lines]
    head = next(row for row in rows if row[:2] == ["#", "noise"])
    assert head[5:] == ["none/float", "none/baseline", "s/float", "s/baseline"]
    clean = next(row for row in rows if row[:2] == ["clean", "-"])
    assert clean[2] == "2" and len(clean) == 3 + 4
    assert "bootstrap draws recordings" in first.stdout and (out / "RESULTS").read_text() in first.stdout
    assert "<svg" in (out / "report.html").read_text()
    # The clean utterance of the recipe itself.
    assert (out / "data/none/source").read_text().splitlines()[0] == "test000-000-clean test000-000"
    other = run(RECIPE, *words, "--stage", 3, "--seed", 1)
    assert other.status == 1
    assert "none/wav.scp, which no longer fits: seed was 0 and is 1; begin with --stage 0" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "nowhere.onnx"], "--networks: nowhere.onnx is no file or cell, nor one of identity"),
        (["--networks", "identity@crn-5"], "the enhancement network 'crn-5' is not one of crn"),
        (["--noises", "rain"], "--noises: rain is not one of coloured"),
        (["--conditions", "loud"], "the set of conditions 'loud' is not one of heard, unheard"),
        (["--snrs", "0,loud"], "--snrs: expected numbers with commas between them, found '0,loud'"),
        (["--synthesise", "5"], "--data-dir and --synthesise exclude each other"),
        (["--replications", "5"], "--replications must be at least 100, found 5"),
        (["--lmwt", "0"], "--lmwt expects a whole number above 0, found 0"),
        (["--data-dir", "data/test_hires"], "data/test_hires/wav.scp is missing or empty"),
        (["--stage", "5"], "5 is not in the range 0<=x<=4"),
    ],
)
def test_wrong_arguments(data: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(RECIPE, "--data-dir", data, "--out-dir", tmp_path / "out", *arguments)
    assert result.status in (1, 2)
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
