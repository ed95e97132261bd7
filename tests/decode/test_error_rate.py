"""Character error rates as Kaldi's ``score_kaldi_cer.sh`` finds them, in both back ends, and the files' names."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.decode.backend import ScoreTask
from kaldi_quant.decode.error_rate import CHARACTERS, WORDS, remove_scores, split_characters
from kaldi_quant.decode.kaldi_programs import KaldiBackend
from kaldi_quant.decode.options import ScoreOptions
from kaldi_quant.decode.scoring import score
from kaldi_quant.decode.sweep import SweepPoint
from kaldi_quant.decode.transcripts import read_transcripts

from .conftest import ROOT, Job

DATA = ROOT / "tests" / "data" / "decode"

# What the Perl program in score_kaldi_cer.sh makes of each line.
SPLIT = {
    "utt1 two words": "utt1 t w o w o r d s",
    "utt2 你好 世界": "utt2 你 好 世 界",
    "utt3 a [noise] x<unk>y !SILa [b c]": "utt3 a [noise] x<unk>y !SILa [ b c ]",
    "utt4": "utt4",
    # White space is Unicode's, other than in words; a combining accent is a character; U+200B and U+001C are no space.
    "utt5 ab\xa0c 你\u3000好\x85d": "utt5 a b c 你 好 d",
    "utt6 e\u0301 a\u200bb \x1c": "utt6 e \u0301 a \u200b b \x1c",
    "  utt7  a\x0bb\r": "utt7 a b",
    "": "",
}


@pytest.mark.parametrize("line", SPLIT)
def test_characters_are_split_as_kaldi_splits_them(line: str) -> None:
    assert split_characters(f"{line}\n") == f"{SPLIT[line]}\n"
    assert split_characters("") == ""


def test_a_recipes_tokenizer_splits_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("local").mkdir()
    tokenizer = Path("local/character_tokenizer")
    tokenizer.write_text("#!/bin/sh\ntr a-z A-Z\n")
    assert split_characters("u ab\n") == "u a b\n", "it is not executable"
    tokenizer.chmod(0o755)
    assert split_characters("u ab\n") == "U AB\n"


def errors(reference: list[str], hypothesis: list[str]) -> int:
    """The edit distance, by its definition."""
    costs = {(0, column): column for column in range(len(hypothesis) + 1)}
    for row, column in itertools.product(range(1, len(reference) + 1), range(len(hypothesis) + 1)):
        ways = [costs[row - 1, column] + 1]
        if column:
            differ = reference[row - 1] != hypothesis[column - 1]
            ways += [costs[row, column - 1] + 1, costs[row - 1, column - 1] + differ]
        costs[row, column] = min(ways)
    return costs[len(reference), len(hypothesis)]


def test_character_error_rates(job: Job, tmp_path: Path) -> None:
    shutil.copy(DATA / "lat.1.gz", tmp_path)
    options = ScoreOptions(7, 9, ("0.0", "1.0"), cer=True, backend="embedded")
    lines = score(str(job.data_dir), str(job.graph_dir), str(tmp_path), options).splitlines()
    scoring = tmp_path / "scoring_kaldi"
    assert [line + "\n" for line in lines] == [(scoring / f"best_{rate}").read_text() for rate in ("cer", "wer")]
    assert {path.name for path in (scoring / "cer_details").iterdir()} == {
        "per_utt", "per_spk", "ops", "lmwt", "wip", "cer_bootci"
    }  # fmt: skip
    assert len(list(tmp_path.glob("cer_*"))) == len(list(tmp_path.glob("wer_*"))) == 6
    references = read_transcripts(job.data_dir / "text")
    found = {}
    for lmwt, wip in itertools.product((7, 8, 9), ("0.0", "1.0")):
        hypotheses = read_transcripts(scoring / f"penalty_{wip}" / f"{lmwt}.txt")
        wrong = sum(errors(list("".join(references[name])), list("".join(hypotheses[name]))) for name in hypotheses)
        letters = sum(len("".join(references[name])) for name in hypotheses)
        first, second = (tmp_path / f"cer_{lmwt}_{wip}").read_text().splitlines()[:2]
        assert first == f"compute-wer --text --mode=present ark:{scoring}/test_filt.chars.txt ark,p:- "
        assert second.startswith(f"%WER {100 * wrong / letters:.2f} [ {wrong} / {letters}, ")
        found[f"cer_{lmwt}_{wip}"] = wrong
    assert found[Path(lines[0].split()[-1]).name] == min(found.values()) > 0
    # Whoever makes other lattices removes all that tells of these.
    remove_scores(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if re.search("best_|er_details|[cw]er_", path.name)]


def test_kaldis_programs_count_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for compute-wer, which prints what it was given.
    program = tmp_path / "root/src/bin/compute-wer"
    program.parent.mkdir(parents=True)
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint('%WER 50.00 [ 1 / 2, 0 ins, 0 del, 1 sub ]')\n"
        "print('%SER 100.00 [ 1 / 1 ]\\nScored 1 sentences, 0 not present in hyp.', *sys.argv[1:])\n"
    )
    program.chmod(0o755)
    for rate in (WORDS, CHARACTERS):
        folder = tmp_path / rate.prefix
        folder.mkdir()
        task = ScoreTask([], "words.txt", {}, {}, folder, ScoreOptions(7, 8, ("0.0",)), rate)
        results = KaldiBackend(tmp_path / "root").score(task)
        assert results[SweepPoint(7, "0.0")].edits.total == 1
        assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
            f"{rate.prefix}_{lmwt}_0.0" for lmwt in (7, 8)
        ]
        first, *_, last = (folder / f"{rate.prefix}_8_0.0").read_text().splitlines()
        references = f"ark:{folder}/scoring_kaldi/test_filt{rate.suffix}"
        assert first == f"compute-wer --text --mode=present {references} ark,p:- "
        assert last.endswith(f"{references} ark,p:{folder}/scoring_kaldi/penalty_0.0/8{rate.suffix}")


def test_the_verb_scores_characters(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KALDI_ROOT", raising=False)
    shutil.copy(DATA / "lat.1.gz", tmp_path)
    places = [f"{job.data_dir}/", f"{job.graph_dir}/", f"{tmp_path}//"]
    assert run(["score", "--cer", "--min-lmwt", "9", "--max-lmwt", "9", *places]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in shown] == [f"{tmp_path}/cer_9_0.0", f"{tmp_path}/wer_9_0.0"]
    assert run(["score", "--decode-mbr=true", *places]) == 1
    assert "steps/score_kaldi.sh --decode-mbr true scores the lattices" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("perl") is None, reason="there is no perl")
def test_perl_agrees_on_every_character() -> None:
    kinds = [chr(code) for code in range(1, 0x3100) if code != 10]
    text = "".join(f"u{ord(kind):x} a{kind}b\n" for kind in kinds)
    program = 'print $F[0]; foreach $s (@F[1..$#F]) { print " $_" foreach split "", $s; } print "\\n";'
    command = ["perl", "-CSDA", "-ane", program]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True, env=environment)
    assert done.stdout.decode() == split_characters(text)
