"""Words and utterances in any encoding, and with the spaces of Unicode: scored as others are, and written unchanged."""

import gzip
import shutil
from pathlib import Path

import pytest

from kaldi_quant.decode.backend import DecodeTask
from kaldi_quant.decode.jobs import JobArray, run_jobs
from kaldi_quant.decode.kaldi_programs import KaldiBackend
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
from kaldi_quant.decode.scoring import score
from kaldi_quant.decode.split import SplitTable, leave_out
from kaldi_quant.kaldi.tables import matrix_writer, read_matrices
from kaldi_quant.kaldi.text import decode, encode
from kaldi_quant.report.files.decode_folder import read_folder

from .conftest import ROOT, Job

LATTICES = ROOT / "tests" / "data" / "decode" / "lat.1.gz"
# What replaces the words a and s, and the first bytes of all utterances.
NAMES = {
    "no-break space": ("ß\u00a0x".encode(), "ア\u3000イ".encode(), "te\u00a0st".encode()),
    "line separators": ("x\u2028y".encode(), b"x\x1cy\x85", "te\u0085st".encode()),
    "Latin-1": ("ä\xa0ß".encode("latin-1"), "é".encode("latin-1"), "têst".encode("latin-1")),
    "GBK": ("你好".encode("gbk"), "语".encode("gbk"), "测".encode("gbk")),
    "byte order mark": ("\ufeffa".encode(), "s\ufeff".encode(), "\ufefftest".encode()),
}


def rename(line: bytes, a: bytes, s: bytes, place: slice) -> bytes:
    words = line.split(b" ")
    words[place] = [{b"a": a, b"s": s}.get(word, word) for word in words[place]]
    return b" ".join(words)


def make_folders(job: Job, folder: Path, names: tuple[bytes, bytes, bytes]) -> tuple[Path, Path, Path]:
    """Data, graph and a decode folder with Kaldi's lattices, all with other names."""
    a, s, test = names
    data, graph, out = (folder / name for name in ("data", "graph", "decode"))
    for made in (data, graph, out):
        made.mkdir()
    lines = (job.graph_dir / "words.txt").read_bytes().splitlines(keepends=True)
    (graph / "words.txt").write_bytes(b"".join(rename(line, a, s, slice(0, 1)) for line in lines))
    lines = (job.data_dir / "text").read_bytes().split(b"\n")[:4]
    text = b"".join(rename(line, a, s, slice(1, None)).replace(b"test", test, 1) + b"\n" for line in lines)
    (data / "text").write_bytes(text)
    utterances = [line.split(b" ")[0] for line in text.split(b"\n")[:-1]]
    (data / "utt2spk").write_bytes(b"".join(utterance + b" " + test + b"\n" for utterance in utterances))
    (out / "lat.1.gz").write_bytes(gzip.compress(gzip.decompress(LATTICES.read_bytes()).replace(b"test0", test + b"0")))
    return data, graph, out


def scored(folders: tuple[Path, Path, Path]) -> str:
    data, graph, out = map(str, folders)
    line = score(data, graph, out, ScoreOptions(9, 10, ("0.0",), backend="embedded"))
    return line.split("]")[0]


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_other_names_are_scored_alike(job: Job, tmp_path: Path, names: tuple[bytes, bytes, bytes]) -> None:
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.mkdir()
    other.mkdir()
    expected = scored(make_folders(job, plain, (b"a", b"s", b"test")))
    assert expected.startswith("%WER ")
    folders = make_folders(job, other, names)
    assert scored(folders) == expected
    data, _, out = folders
    a, s, test = names
    scoring = out / "scoring_kaldi"
    assert (scoring / "test_filt.txt").read_bytes() == (data / "text").read_bytes()
    hypotheses = (scoring / "penalty_0.0" / "9.txt").read_bytes()
    back = hypotheses.replace(a, b"a").replace(s, b"s").replace(test, b"test")
    assert back == (plain / "decode" / "scoring_kaldi" / "penalty_0.0" / "9.txt").read_bytes()
    details = (scoring / "wer_details" / "per_utt").read_bytes()
    assert a in details and details.count(test + b"0") == 16
    assert test in (scoring / "wer_details" / "per_spk").read_bytes()
    assert a in (scoring / "wer_details" / "ops").read_bytes()


def test_a_decode_folder_is_read_for_reports(job: Job, tmp_path: Path) -> None:
    folders = make_folders(job, tmp_path, NAMES["Latin-1"])
    scored(folders)
    found = read_folder(folders[2], "latin")
    assert {encode(utterance)[:5] for utterance in found.references} == {NAMES["Latin-1"][2] + b"0"}


@pytest.mark.parametrize("key", ["utt\x85a", "utt\u2028a", decode(b"utt\xe4")])
def test_what_is_left_out_of_parts(tmp_path: Path, key: str) -> None:
    with matrix_writer(f"ark,scp:{tmp_path}/t.ark,{tmp_path}/t.1.scp") as writer:
        for name in (key, "other"):
            writer.write(name, [[1.0]])  # type: ignore[arg-type]
    table = SplitTable(f"scp:{tmp_path}/t.JOB.scp", 1, [[key, "other"]])
    left = leave_out(table, {"other"})
    assert left.utterances == [[key]]
    assert [found for found, _ in read_matrices(left.of(1))] == [key]


def test_utterances_in_kaldis_logs(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    log = (
        b"Not producing output for utterance t\xe4st-\xc2\xa01 since no final state\nDone 3 utterances, failed for 1\n"
    )
    (tmp_path / "log" / "decode.1.log").write_bytes(log)
    task = DecodeTask("m", "g", "w", SplitTable("ark:x", 1), tmp_path, DecodeOptions())
    report = KaldiBackend(tmp_path).report(task, 1)
    assert report is not None and [encode(key) for key in report.left_out] == [b"t\xe4st-\xc2\xa01"]


def test_jobs_in_a_folder_with_any_name(tmp_path: Path) -> None:
    folder = tmp_path / decode(b"l\xe4tin")
    folder.mkdir()
    array = JobArray("JOB", [1], str(folder / "job.JOB.log"), ["touch", str(folder / "done")], {})
    assert run_jobs(array, None, lambda: None) == []
    assert (folder / "done").exists()
    assert b"l\xe4tin" in (folder / "job.1.log").read_bytes()


def test_a_filter_sees_the_bytes(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make_folders(job, tmp_path, NAMES["GBK"])
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "wer_output_filter").write_text("#!/bin/sh\nexec tee -a seen\n")
    (tmp_path / "local" / "wer_output_filter").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    scored(folders)
    assert (tmp_path / "seen").read_bytes().startswith((folders[0] / "text").read_bytes())
    shutil.rmtree(tmp_path / "local")
