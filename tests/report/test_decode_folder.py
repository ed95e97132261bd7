"""Which point of a decode folder is taken, and what is said of folders that cannot be used."""

import os
import re
import shutil
from pathlib import Path

import pytest

from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.errors import DataError, KaldiQuantError, UsageError
from kaldi_quant.report.comparison import ComparisonOptions, compare
from kaldi_quant.report.files.decode_folder import FixedPoint, read_folder
from kaldi_quant.report.files.folder_names import named_folders
from kaldi_quant.report.notes import notes
from tests.report.decode_folders import write_folder

REFERENCES = {"u1": ["a", "b", "c"], "u2": ["d", "e"], "u3": ["f"]}
ONE_WRONG = {"u1": ["a", "x", "c"], "u2": ["d", "e"], "u3": ["f"]}
TWO_WRONG = {"u1": ["a", "x", "y"], "u2": ["d", "e"], "u3": ["f"]}
POINTS = {"9_0.5": ONE_WRONG, "8_0.0": ONE_WRONG, "8_1.0": TWO_WRONG, "10_1.0": REFERENCES | {"u1": ["a"]}}
NOTHING_SCORED = """%WER nan [ 0 / 0, 0 ins, 0 del, 0 sub ]
%SER nan [ 0 / 0 ]
Scored 0 sentences, 3 not present in hyp.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(write_folder(tmp_path / "decode", REFERENCES, POINTS))


def test_best_wer_names_the_point(folder: Path) -> None:
    read = read_folder(folder, "x")
    assert read.point == SweepPoint(9, "0.5") and read.score_file == folder / "wer_9_0.5"
    assert read.result.wer_line() == "%WER 16.67 [ 1 / 6, 0 ins, 0 del, 1 sub ]"
    assert read.hypotheses == ONE_WRONG and read.references == REFERENCES and read.record is None


def test_without_best_wer_the_first_of_the_best_as_kaldi_looks_for_it(folder: Path) -> None:
    (folder / "scoring_kaldi" / "best_wer").unlink()
    assert read_folder(folder, "x").point == SweepPoint(8, "0.0")


def test_best_wer_of_a_folder_that_was_moved(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    assert read_folder(tmp_path / "elsewhere", "x").point == SweepPoint(9, "0.5")


@pytest.mark.parametrize(
    ("fixed", "point"),
    [
        (FixedPoint(8), SweepPoint(8, "0.0")),
        (FixedPoint(8, "1"), SweepPoint(8, "1.0")),
        (FixedPoint(None, "1.00"), SweepPoint(8, "1.0")),
        (FixedPoint(9, "0.5"), SweepPoint(9, "0.5")),
    ],
)
def test_a_fixed_point_is_the_best_of_what_it_leaves(folder: Path, fixed: FixedPoint, point: SweepPoint) -> None:
    assert read_folder(folder, "x", fixed).point == point


def test_names(folder: Path, tmp_path: Path) -> None:
    for path in ("m1/decode", "m2/decode", "with=sign"):
        shutil.copytree(folder, tmp_path / path)
    named = named_folders([f"float={tmp_path}/m1/decode", f"{tmp_path}/m2/decode/", f"{tmp_path}/with=sign"])
    assert list(named) == ["float", "m2/decode", "with=sign"]
    assert list(named_folders([str(folder)])) == ["decode"]
    with pytest.raises(UsageError, match="are both called a: give them names"):
        named_folders([f"a={tmp_path}/m1/decode", f"a={tmp_path}/m2/decode"])
    with pytest.raises(UsageError, match="expected a folder, or NAME=folder, found '=x'"):
        named_folders(["=x"])


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "the decode folder .*decode does not exist"),
        (lambda folder: [path.unlink() for path in folder.glob("wer_*")], r"has no scores \(wer_LMWT_WIP\): score it"),
        (remove("scoring_kaldi/penalty_0.5/9.txt"), r"penalty_0.5/9.txt: cannot be read: No such file"),
        (remove("scoring_kaldi/test_filt.txt"), r"test_filt.txt: cannot be read: No such file"),
        (
            write("scoring_kaldi/penalty_0.5/9.txt", "u1 a x c \nu2 d"),
            "wer_9_0.5 has 1 errors in 6 words of 3 utterances, but 9.txt of penalty_0.5 against test_filt.txt gives "
            "2 errors in 5 words of 2 utterances; score it again",
        ),
        (write("scoring_kaldi/test_filt.txt", "u1 a b"), "but 9.txt of penalty_0.5 against test_filt.txt gives"),
        (write("scoring_kaldi/penalty_0.5/9.txt", ""), "nothing to score: 0 of 3 reference utterances"),
        (write("wer_9_0.5", "%WER 16.67 [ 1 / 6, 0 ins"), "wer_9_0.5: expected the output of compute-wer, found '%WER"),
        (write("wer_9_0.5", NOTHING_SCORED), "wer_9_0.5: no words were scored"),
        (write("scoring_kaldi/best_wer", "%WER 1.0 [ 1 / 6 ] wer_99_0.5\n"), "best_wer names wer_99_0.5, which is"),
        (
            write("scoring_kaldi/best_wer", "%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ] x/wer_9_0.5\n"),
            r"best_wer says %WER 50.00 \[ 3 / 6.* but wer_9_0.5 has 1 errors in 6 words .* one of them is older",
        ),
        (write("scoring_kaldi/best_wer", ""), "best_wer names nothing, which is not one"),
        (write("quantization.json", "{"), "quantization.json: cannot be read as JSON"),
    ],
)  # fmt: skip
def test_errors(folder: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(KaldiQuantError, match=message) as caught:
        read_folder(folder, "x")
    assert "\n" not in str(caught.value)


def test_points_that_are_not_there(folder: Path) -> None:
    expected = "was not scored at LMWT 11 and any WIP: it has LMWT 8 to 10 and WIP 0.0, 0.5, 1.0"
    with pytest.raises(DataError, match=re.escape(expected)):
        read_folder(folder, "x", FixedPoint(11))
    with pytest.raises(DataError, match=r"was not scored at LMWT 9 and WIP 1\.0"):
        read_folder(folder, "x", FixedPoint(9, "1.0"))
    with pytest.raises(UsageError, match=r"--wip expects a number such as 0\.5, found '0,5'"):
        FixedPoint(None, "0,5")
    with pytest.raises(UsageError, match="--lmwt expects a whole number above 0, found 0"):
        FixedPoint(0)


@pytest.mark.parametrize("name", ["wer_10", "score_10", "score_10_0.0"])
def test_scores_of_an_old_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("%WER 16.67 [ 1 / 6, 0 ins, 0 del, 1 sub ]\n")
    with pytest.raises(DataError, match=r"has scores of an old form .* score it again, with kaldi-quant"):
        read_folder(tmp_path, "x")


def test_lattices_that_are_newer_than_the_scores_are_noted(folder: Path) -> None:
    lattice = folder / "lat.1.gz"
    lattice.write_bytes(b"")
    scored = (folder / "wer_9_0.5").stat().st_mtime
    os.utime(lattice, (scored - 10, scored - 10))
    comparison = compare([f"x={folder}"], ComparisonOptions(replications=100))
    assert not any("newer" in note for note in notes(comparison))
    os.utime(lattice, (scored + 10, scored + 10))
    assert f"x: the lattices in {folder} are newer than its scores: score it again" in notes(comparison)
