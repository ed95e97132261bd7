"""The back end of Kaldi's programs, with a Kaldi that is built; skipped visibly where KALDI_ROOT names none."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.decode.decoding import decode
from kaldi_quant.decode.kaldi_programs import missing_programs
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
from kaldi_quant.decode.scoring import score
from kaldi_quant.errors import DataError, UsageError

from .conftest import ROOT, Job

DATA = ROOT / "tests" / "data" / "decode"
KALDI_ROOT = os.environ.get("KALDI_ROOT")

pytestmark = pytest.mark.skipif(bool(missing_programs(KALDI_ROOT)), reason="KALDI_ROOT names no Kaldi that is built")


def run(job: Job, out: Path, rspecifier: str | None = None, **options: object) -> tuple[int, int]:
    words, table = str(job.graph_dir / "words.txt"), rspecifier or f"ark:{job.loglikes}"
    counted = decode(str(job.model), str(job.graph), table, words, str(out), DecodeOptions(**{"nj": 2, **options}))
    return counted.good, counted.bad


@pytest.mark.parametrize("cmd", [None, "run.pl"])
def test_both_back_ends_agree(job: Job, tmp_path: Path, cmd: str | None) -> None:
    for backend in ("kaldi", "embedded"):
        folder = tmp_path / backend
        assert run(job, folder, backend=backend, cmd=cmd) == (4, 0)
        score(
            str(job.data_dir),
            str(job.graph_dir),
            str(folder),
            ScoreOptions(9, 11, ("0.0", "0.5"), backend=backend, cmd=cmd),
        )
    kaldi, embedded = tmp_path / "kaldi", tmp_path / "embedded"
    names = sorted(path.name for path in kaldi.glob("wer_*"))
    assert len(names) == 6 and not list(kaldi.rglob("*.tmp")) and not list(kaldi.rglob("*.int"))
    details = [f"scoring_kaldi/wer_details/{name}" for name in ("per_utt", "per_spk", "ops", "lmwt", "wip")]
    for name in [*names, *details, "scoring_kaldi/test_filt.txt", "scoring_kaldi/penalty_0.5/9.txt", "num_jobs"]:
        assert (kaldi / name).read_text() == (embedded / name).read_text(), name
    assert "latgen-faster-mapped" in (kaldi / "log" / "decode.2.log").read_text()


def test_kaldis_programs_read_our_lattices(job: Job, tmp_path: Path) -> None:
    assert run(job, tmp_path, backend="embedded") == (4, 0)
    program = Path(str(KALDI_ROOT)) / "src" / "latbin" / "lattice-best-path"
    words = {}
    for name, archives in (("ours", f"{tmp_path}/lat.1.gz {tmp_path}/lat.2.gz"), ("kaldi", f"{DATA}/lat.1.gz")):
        command = [
            str(program),
            "--acoustic-scale=0.1",
            f"ark:gunzip -c {archives} |",
            "ark,t:-",
            f"ark,t:{tmp_path}/{name}",
        ]
        words[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert words["ours"] == words["kaldi"] and words["ours"].count("\n") == 4
    assert (tmp_path / "ours").read_text() == (tmp_path / "kaldi").read_text(), "the same alignments"


def test_bad_utterances_do_not_reach_kaldi(job: Job, matrices: dict, save_table, tmp_path: Path) -> None:
    table = {**matrices, "nan": np.full((9, 208), np.nan, np.float32), "empty": np.zeros((0, 0), np.float32)}
    assert run(job, tmp_path / "a", save_table(table), backend="kaldi", max_bad_share=0.5) == (4, 2)
    with pytest.raises(DataError, match="have 100 columns but the transition model has 208 pdfs"):
        run(job, tmp_path / "b", save_table({"u": np.zeros((9, 100), np.float32)}), backend="kaldi")


def test_a_failing_program_is_named(job: Job, tmp_path: Path) -> None:
    parts = f"ark:{tmp_path}/part.JOB.ark"
    for number in (1, 2):
        (tmp_path / f"part.{number}.ark").write_bytes(b"utt \0BFM garbage")
    for cmd in (None, "run.pl"):
        with pytest.raises(DataError, match=r"decode job 1 \(2 of 2 jobs failed\).*see .*decode.1.log"):
            run(job, tmp_path / "out", parts, backend="kaldi", cmd=cmd)
        assert not list((tmp_path / "out").glob("lat.*")) and not list((tmp_path / "out").glob(".lat*"))


def test_names_that_a_shell_would_change_are_refused_with_a_cmd(job: Job, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="characters that a shell would change"):
        run(job, tmp_path / "a$(touch x)", backend="kaldi", cmd="run.pl")
    assert run(job, tmp_path / "a$(touch x) 'b'", backend="embedded") == (4, 0)
    assert not Path("x").exists()
