"""Folders side by side: rows, what is refused, speakers, and the notes."""

import math
from pathlib import Path

import pytest

from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.files.decode_folder import FixedPoint
from kaldi_quant.report.notes import notes
from tests.report.decode_folders import EXAMPLE, disturbed, real, write_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's float result, the same again, and some that are worse."""
    base = tmp_path_factory.mktemp("decode")
    references, first = real()
    write_folder(base / "float", references, {"16_1.0": first})
    write_folder(base / "same", references, {"16_1.0": first, "15_0.0": disturbed(first, 0.05, 4)})
    for name, share, seed in (("slightly", 0.002, 1), ("worse", 0.05, 1), ("similar", 0.05, 2), ("bad", 0.5, 1)):
        write_folder(base / name, references, {"16_1.0": disturbed(first, share, seed)})
    return base


def compared(folders: Path, *names: str, **options: object) -> Comparison:
    return compare([f"{folders}/{name}" for name in names], ComparisonOptions(replications=1000, **options))


def test_rows(folders: Path) -> None:
    comparison = compared(folders, "float", "same", "slightly", "worse")
    assert [row.name for row in comparison.rows] == ["float", "same", "slightly", "worse"]
    assert (comparison.unit, comparison.units) == ("utterances", 400)
    first, same, slightly, worse = comparison.rows
    assert first.versus is None and first.folder.result.edits.total == 357
    assert first.interval.low < 14.54 < first.interval.high
    # Kaldi: [ 12.30, 16.77 ]
    assert (first.interval.low, first.interval.high) == pytest.approx((12.3, 16.77), abs=0.3)
    assert same.interval == first.interval
    assert same.versus is not None and same.versus.paired.difference == 0 and same.versus.significant is False
    assert same.versus.equal_units == 400
    # Five segments are worse and none is better: too few to show anything, as the exact test alone knows.
    assert slightly.versus is not None and slightly.versus.matched.exact_p_value == 2 / 2**5
    assert slightly.versus.significant is None and slightly.versus.equal_units == 395
    assert slightly.versus.matched.p_value < 0.05 and slightly.versus.paired.p_value < 0.05
    assert worse.versus is not None and worse.versus.significant is True
    expected = 100 * (worse.folder.result.edits.total - 357) / 2456
    assert worse.versus.paired.difference == pytest.approx(expected) and worse.versus.matched.z < -3


def test_intervals_do_not_depend_on_what_else_is_compared(folders: Path) -> None:
    alone = compared(folders, "worse").rows[0]
    assert alone.versus is None and compared(folders, "float", "bad", "worse").rows[2].interval == alone.interval


def test_a_fixed_point(folders: Path) -> None:
    fixed = ComparisonOptions(FixedPoint(15), replications=100)
    row = compare([f"{folders}/same"], fixed).rows[0]
    assert row.folder.point.lm_weight == 15 and row.folder.result.edits.total > 357
    with pytest.raises(DataError, match="float was not scored at LMWT 15 and any WIP"):
        compare([f"{folders}/same", f"{folders}/float"], fixed)


def test_speakers_widen_intervals(folders: Path) -> None:
    speakers = str(EXAMPLE / "data" / "test_hires" / "utt2spk")
    by_speaker = compared(folders, "float", "worse", utt2spk=speakers)
    assert (by_speaker.unit, by_speaker.units) == ("speakers", 40)
    wide, narrow = by_speaker.rows[0].interval, compared(folders, "float").rows[0].interval
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)
    assert "over 40 speakers" in notes(by_speaker)[0]


def test_errors_of_utt2spk(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="missing: cannot be read"):
        compared(folders, "float", utt2spk=str(tmp_path / "missing"))
    (tmp_path / "utt2spk").write_text("test000-000 test000\n")
    with pytest.raises(DataError, match="utt2spk has no speaker for the utterance test000-001"):
        compared(folders, "float", utt2spk=str(tmp_path / "utt2spk"))


REFERENCES = {"u1": ["a", "b"], "u2": ["c"], "u3": ["d", "e"]}


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"u1": ["a", "b"], "u2": ["c"]}, {}, "different test sets: the reference of u3 .1 in all. is only in .*/one"),
        (REFERENCES | {"u4": ["f"]}, {}, "different test sets: the reference of u4 .1 in all. is only in .*/two"),
        (REFERENCES | {"u2": ["x"]}, {}, "different references: u2 is 'c' in the one and 'x' in the other"),
        (REFERENCES, {"u1": ["a"]}, "two has no hypothesis for u2 .2 in all., which .*/one has: decode"),
    ],
)  # fmt: skip
def test_different_test_sets(tmp_path: Path, references: dict, hypotheses: dict, message: str) -> None:
    one = write_folder(tmp_path / "one", REFERENCES, {"9_0.0": REFERENCES})
    two = write_folder(tmp_path / "two", references, {"9_0.0": hypotheses or references})
    for arguments in ([one, two], [two, one]):
        with pytest.raises(DataError, match=r"test sets|different references|has no hypothesis") as caught:
            compare(arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=message):
        compare([one, two])


def test_utterances_that_all_lack_are_noted(tmp_path: Path) -> None:
    partial = {"u1": ["a", "x"], "u3": ["d", "e"]}
    folders = [write_folder(tmp_path / name, REFERENCES, {"9_0.0": partial}) for name in ("one", "two")]
    comparison = compare(folders)
    assert comparison.units == 2 and comparison.rows[1].folder.result.num_words == 4
    assert "two: 1 references have no hypothesis and are not scored" in notes(comparison)


def test_no_folder() -> None:
    with pytest.raises(UsageError, match="no decode folder is given"):
        compare([])


def test_notes(folders: Path) -> None:
    comparison = compared(folders, "float", "same", "slightly", "worse")
    found = notes(comparison)
    assert "same: the same words as float in all utterances" in found
    slightly = next(note for note in found if note.startswith("slightly: +"))
    assert "+0.20 is significant by one test and not by another (p 0." in slightly
    assert "0.062 exact, 5 segments differ): take it as not shown" in slightly
    assert not any(note.startswith("worse: ") for note in found)
    assert any("3 differences are tested" in note and "0.05/3 = 0.017" in note for note in found)
    assert any("at its own best LMWT and WIP" in note for note in found)
    assert "every folder stands at LMWT 16 and any WIP" in notes(compared(folders, "float", fixed=FixedPoint(16)))


def test_a_note_says_what_is_not_significant(folders: Path) -> None:
    comparison = compared(folders, "worse", "similar")
    versus = comparison.rows[1].versus
    assert versus is not None and versus.significant is False
    paired = versus.paired
    note = notes(comparison)[-1]
    assert note.startswith(f"similar: {paired.difference:+.2f} is not significant (p 0.")
    assert note.endswith(f"it may be anything in [{paired.interval.low:+.2f},{paired.interval.high:+.2f}]")


def test_one_utterance_shows_nothing(tmp_path: Path) -> None:
    # All of the difference lies in one utterance, whose segments the matched-pairs test takes for independent.
    references = {f"u{number}": list("abcdefghij") * 6 for number in range(30)}
    other = references | {"u0": list("axcdexghij") * 6}
    folders = [
        write_folder(tmp_path / name, references, {"9_0.0": words})
        for name, words in (("one", references | {"u1": ["x", *references["u1"][1:]]}), ("two", other))
    ]
    versus = compare(folders).rows[1].versus
    assert versus is not None and versus.paired.p_value > 0.05 > versus.matched.p_value
    assert versus.significant is None
    found = notes(compare(folders))
    assert any("significant by one test and not by another" in note for note in found)


def test_sizes_come_from_records(tmp_path: Path) -> None:
    record = {"model": "gone", "artefact_bytes": 130, "float_bytes": 1000}
    write_folder(tmp_path / "a", REFERENCES, {"9_0.0": REFERENCES}, record)
    write_folder(tmp_path / "b", REFERENCES, {"9_0.0": REFERENCES}, {"float_layers": {"x": "first", "y": "last"}})
    first, second = compare([f"{tmp_path}/a", f"{tmp_path}/b"]).rows
    assert first.size == 130 and first.share_of_float is not None and math.isclose(first.share_of_float, 0.13)
    assert second.size is None and second.share_of_float is None
    assert notes(compare([f"{tmp_path}/b"]))[-1] == "left in float in b: x (first); y (last)"
