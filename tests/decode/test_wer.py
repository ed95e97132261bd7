"""Counting errors, and the texts that Kaldi's scoring leaves."""

import gzip
from pathlib import Path

import pytest

from kaldi_quant.decode import wer_details
from kaldi_quant.decode.kaldi_programs import parse_wer
from kaldi_quant.decode.transcripts import format_transcripts, parse_transcripts, read_transcripts
from kaldi_quant.decode.wer import Edits, bootstrap_text, compute_wer, count_edits, error_score
from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.metrics.known import WER

DATA = Path(__file__).resolve().parents[1] / "data" / "decode"


@pytest.fixture(scope="module")
def transcripts(example: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The 400 references and Kaldi's hypotheses at the best point."""
    references = read_transcripts(example / "data" / "test_hires" / "text")
    return references, read_transcripts(example / "reference" / "kaldi_hyp_lmwt16_wip1.0.txt")


def test_kaldis_hypotheses_have_kaldis_wer(transcripts, example: Path) -> None:
    result = compute_wer(*transcripts)
    lines = (example / "reference" / "kaldi_wer.test_hires.txt").read_text().splitlines()
    assert f"wer_16_1.0 {result.wer_line()}" in lines
    assert result.text().splitlines()[1:] == ["%SER 43.25 [ 173 / 400 ]", "Scored 400 sentences, 0 not present in hyp."]


def test_the_score_of_each_utterance(transcripts) -> None:
    score = error_score(*transcripts, WER)
    assert score.value == 100 * 357 / 2456 and len(score.per_unit) == 400
    # An utterance without a hypothesis has no score; a reference without words may have errors.
    found = error_score({"a": ["x", "y"], "b": ["x"], "c": []}, {"a": ["x", "z"], "c": ["y"]}, WER)
    assert found.per_unit == {"a": 1, "c": 1} and found.out_of == {"a": 2, "c": 0} and found.value == 100
    for references, hypotheses in (({"a": ["x"]}, {}), ({"a": []}, {"a": ["x"]})):
        with pytest.raises(DataError, match=r"at least one unit|are out of 0"):
            error_score(references, hypotheses, WER)


def test_details_are_kaldis_byte_for_byte(transcripts, example: Path) -> None:
    references, hypotheses = transcripts
    aligned = wer_details.align(references, hypotheses)
    speakers = {
        utterance: words[0] for utterance, words in read_transcripts(example / "data/test_hires/utt2spk").items()
    }
    assert wer_details.per_utterance(aligned) == gzip.decompress((DATA / "per_utt.gz").read_bytes()).decode()
    assert wer_details.per_speaker(aligned, speakers) == (DATA / "per_spk").read_text()
    assert wer_details.operations(aligned) == (DATA / "ops").read_text()


def test_bootstrap_interval_is_kaldis(transcripts, example: Path) -> None:
    # Kaldi: [ 12.30, 16.77 ] with another random generator; the ends vary by a few hundredths from seed to seed.
    words = bootstrap_text(*transcripts).replace(",", "").split()
    kaldi = (example / "reference" / "wer_bootci").read_text().replace(",", "").split()
    assert words[:2] == kaldi[:2] == ["Set1:", "%WER"] and words[3:7] == kaldi[3:7]
    for position in (2, 7, 8):
        assert float(words[position]) == pytest.approx(float(kaldi[position]), abs=0.1)


def test_edits_are_split_as_kaldi_splits_them() -> None:
    assert count_edits(["a", "b", "c"], ["a", "x", "c", "d"]) == Edits(1, 0, 1)
    assert count_edits([], ["a", "b"]) == Edits(2, 0, 0)
    assert count_edits(["a", "b"], []) == Edits(0, 2, 0)
    assert Edits(1, 2, 3) + Edits(1, 1, 1) == Edits(2, 3, 4) and Edits(1, 2, 3).total == 6


def test_absent_hypotheses_are_not_scored() -> None:
    references = {"a": ["x", "y"], "b": ["z"], "c": []}
    result = compute_wer(references, {"a": ["x"], "c": ["w"], "other": ["q"]})
    assert result.wer_line() == "%WER 100.00 [ 2 / 2, 1 ins, 1 del, 0 sub ] [PARTIAL]"
    assert result.text().endswith("%SER 100.00 [ 2 / 2 ]\nScored 2 sentences, 1 not present in hyp.\n")
    with pytest.raises(DataError, match="nothing to score: 0 of 3"):
        compute_wer(references, {"other": ["x"]})
    with pytest.raises(DataError, match="they contain no words"):
        compute_wer(references, {"c": ["x"]})


def test_details_of_empty_and_wide_words() -> None:
    aligned = wer_details.align({"u": [], "v": ["überlang" * 3]}, {"u": [], "v": ["überlang" * 3, "x"]})
    text = wer_details.per_utterance(aligned)
    assert text.startswith("u ref  \nu hyp  \nu op   \nu #csid 0 0 0 0\n")
    assert "v op   " + " " * 12 + "C" + " " * 11 + "   I \n" in text
    assert "insertion     " + " " * 13 + "***" + " " * 4 + " " * 15 + "x    1\n" in wer_details.operations(aligned)
    assert wer_details.operations(wer_details.align({"u": []}, {"u": []})) == ""
    with pytest.raises(DataError, match="utterance u is not in utt2spk"):
        wer_details.per_speaker(aligned, {"v": "s"})
    with pytest.raises(DataError, match=r"the word \*\*\*"):
        wer_details.align({"u": ["***"]}, {"u": []})


def test_output_of_compute_wer_is_taken_apart(tmp_path: Path) -> None:
    result = compute_wer({"a": ["x", "y"], "b": []}, {"a": ["x", "z", "w"]})
    path = tmp_path / "wer_10_0.0"
    path.write_text("compute-wer --text --mode=present ark:a ark,p:- \n" + result.text())
    assert parse_wer(path) == result
    path.write_text("ERROR (compute-wer)")
    with pytest.raises(DataError, match="expected the output of compute-wer"):
        parse_wer(path)


def test_transcripts_round_trip(tmp_path: Path) -> None:
    table = {"u": ["a", "b"], "v": []}
    text = format_transcripts(table)
    assert text == "u a b \nv \n" and parse_transcripts(text, "x") == table and parse_transcripts("", "x") == {}
    with pytest.raises(FormatError, match="x, line 2: the utterance u appears again"):
        parse_transcripts("u a\nu b\n", "x")
    with pytest.raises(FormatError, match="x, line 2: a blank line"):
        parse_transcripts("u a\n\nv\n", "x")
    with pytest.raises(FormatError, match="absent: cannot be read"):
        read_transcripts(tmp_path / "absent")
