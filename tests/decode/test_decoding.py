"""The embedded back end: decode and score the example, and what is said of every wrong input."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from kaldi_quant.cli.main import run as run_verb
from kaldi_quant.decode.decoding import decode
from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
from kaldi_quant.decode.scoring import find_lattices, score
from kaldi_quant.decode.transcripts import read_transcripts
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, MissingDependencyError, UsageError
from kaldi_quant.kaldi.lattice_archive import read_lattices

from .conftest import ROOT, Job

DATA = ROOT / "tests" / "data" / "decode"
Save = Callable[[dict[str, np.ndarray]], str]


@pytest.fixture(autouse=True)
def without_kaldi(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are of the embedded back end."""
    monkeypatch.delenv("KALDI_ROOT", raising=False)


def run(job: Job, out: Path, rspecifier: str | None = None, **options: object) -> tuple[int, int]:
    words = str(job.graph_dir / "words.txt")
    table = rspecifier or f"ark:{job.loglikes}"
    counted = decode(str(job.model), str(job.graph), table, words, str(out), DecodeOptions(**options))
    return counted.good, counted.bad


@pytest.fixture(scope="session")
def decoded(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's four utterances, decoded in two jobs and scored."""
    folder = tmp_path_factory.mktemp("exp") / "decode"
    assert run(job, folder, nj=2, backend="embedded") == (4, 0)
    score(str(job.data_dir), str(job.graph_dir), str(folder), ScoreOptions(backend="embedded"))
    return folder


def test_the_folder_is_kaldis(decoded: Path) -> None:
    assert (decoded / "num_jobs").read_text() == "2\n"
    assert sorted(path.name for path in decoded.glob("lat.*")) == ["lat.1.gz", "lat.2.gz"]
    assert len(list(decoded.glob("wer_*_*"))) == 33 and not list(decoded.rglob("*.tmp"))
    scoring = decoded / "scoring_kaldi"
    assert {path.name for path in scoring.iterdir()} == {
        "best_wer", "penalty_0.0", "penalty_0.5", "penalty_1.0", "test_filt.txt", "wer_details"
    }  # fmt: skip
    details = {path.name for path in (scoring / "wer_details").iterdir()}
    assert details == {"per_utt", "per_spk", "ops", "lmwt", "wip", "wer_bootci"}
    assert len(list((scoring / "penalty_0.5").glob("*.txt"))) == 11
    assert (decoded / "log" / "decode.1.log").read_text().count("Log-like per frame for utterance") == 2


def test_words_and_counts_are_kaldis(decoded: Path, example: Path) -> None:
    lines = (DATA / "kaldi_wer.txt").read_text().splitlines()
    assert len(lines) == 33
    for line in lines:
        name, _, wer = line.partition(" ")
        # Kaldi scored the four alone; here 396 references have no hypothesis.
        assert (decoded / name).read_text().splitlines()[1] == f"{wer} [PARTIAL]"
    kaldi = read_transcripts(example / "reference" / "kaldi_hyp_lmwt16_wip1.0.txt")
    ours = read_transcripts(decoded / "scoring_kaldi" / "penalty_1.0" / "16.txt")
    assert list(ours) == [f"test000-00{number}" for number in range(4)]
    assert all(kaldi[utterance] == words for utterance, words in ours.items())


def test_lattices_are_kaldis(decoded: Path) -> None:
    """The same best path with the same costs and transition-ids as in Kaldi's lattices, and about as many arcs."""
    ours = dict(pair for path in find_lattices(decoded) for pair in read_lattices(path))
    for utterance, kaldi in read_lattices(DATA / "lat.1.gz"):
        ((our_costs, our_string), (costs, string)) = (best(lattice) for lattice in (ours[utterance], kaldi))
        assert our_costs == pytest.approx(costs, rel=1e-4) and our_string == string
        assert ours[utterance].num_arcs == pytest.approx(kaldi.num_arcs, rel=0.3)


def best(lattice) -> tuple[tuple[float, float], list[int]]:
    """Costs and transition-ids of the best path at LMWT 10."""
    ways: dict[int, tuple[float, tuple[float, float], list[int]]] = {}
    for state in reversed(lattice.topological_order()):
        found = []
        graph, acoustic = lattice.final[state].tolist()
        if np.isfinite(graph):
            found.append((graph + acoustic / 10, (graph, acoustic), lattice.final_strings[state].tolist()))
        for arc in range(lattice.arc_offsets[state], lattice.arc_offsets[state + 1]):
            rest = ways.get(int(lattice.nextstate[arc]))
            if rest:
                graph, acoustic = lattice.cost[arc].tolist()
                costs = (graph + rest[1][0], acoustic + rest[1][1])
                found.append((costs[0] + costs[1] / 10, costs, lattice.strings[arc].tolist() + rest[2]))
        if found:
            ways[state] = min(found)
    return ways[lattice.start][1:]


def test_scoring_kaldis_lattices_gives_kaldis_files(job: Job, tmp_path: Path) -> None:
    shutil.copy(DATA / "lat.1.gz", tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (data / "text").write_text("".join((job.data_dir / "text").read_text().splitlines(keepends=True)[:4]))
    line = score(str(data), str(job.graph_dir), str(tmp_path), ScoreOptions(backend="embedded"))
    for expected in (DATA / "kaldi_wer.txt").read_text().splitlines():
        name, _, wer = expected.partition(" ")
        command = f"compute-wer --text --mode=present ark:{tmp_path}/scoring_kaldi/test_filt.txt ark,p:- "
        assert (tmp_path / name).read_text().splitlines()[:2] == [command, wer]
    assert line.startswith("%WER ") and line.endswith(str(tmp_path / line.rpartition("/")[2]))
    assert (tmp_path / "scoring_kaldi" / "best_wer").read_text() == line + "\n"
    assert (tmp_path / "scoring_kaldi" / "test_filt.txt").read_text() == (data / "text").read_text()
    # No utt2spk: everything but the table of speakers.
    assert not (tmp_path / "scoring_kaldi" / "wer_details" / "per_spk").exists()


def test_scores_go_with_their_lattices(job: Job, decoded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "decode"
    shutil.copytree(decoded, folder)
    (folder / "cer_7_0.0").write_text("")
    (folder / "wer_notes").write_text("a user's own")
    assert run(job, folder, nj=2, backend="embedded") == (4, 0)
    assert len(list(folder.glob("wer_*_*"))) == 33, "the lattices are kept, and so are their scores"
    assert run(job, folder, nj=2, backend="embedded", beam=9.0) == (4, 0)
    assert [path.name for path in folder.glob("?er_*")] == ["wer_notes"]
    assert not (folder / "scoring_kaldi" / "best_wer").exists()


def test_a_rerun_keeps_finished_jobs_and_only_those(job: Job, tmp_path: Path) -> None:
    assert run(job, tmp_path, nj=2) == (4, 0)
    first, second = tmp_path / "lat.1.gz", tmp_path / "lat.2.gz"
    bytes_before, times = first.read_bytes(), (first.stat().st_mtime_ns, second.stat().st_mtime_ns)
    second.unlink()
    (tmp_path / ".lat.2.gz.killed.tmp").write_bytes(b"half")
    assert run(job, tmp_path, nj=2) == (4, 0)
    assert first.stat().st_mtime_ns == times[0] and second.stat().st_mtime_ns > times[1]
    assert not list(tmp_path.glob(".lat*"))
    # Other options: everything anew, and no lattices of a job that is no more.
    assert run(job, tmp_path, nj=1, beam=11.0) == (4, 0)
    assert first.stat().st_mtime_ns > times[0] and first.read_bytes() != bytes_before and not second.exists()
    assert (tmp_path / "num_jobs").read_text() == "1\n"


def test_options_reach_the_lattices(job: Job, tmp_path: Path) -> None:
    run(job, tmp_path / "a", nj=1)
    run(job, tmp_path / "b", nj=1, post_decode_acwt=1.0)
    run(job, tmp_path / "c", nj=1, lattice_beam=1.0)
    (_, tens), (_, ones), (_, narrow) = (next(read_lattices(tmp_path / name / "lat.1.gz")) for name in "abc")
    np.testing.assert_allclose(tens.cost[:, 1], 10 * ones.cost[:, 1], rtol=1e-6)
    np.testing.assert_allclose(tens.cost[:, 0], ones.cost[:, 0], rtol=1e-6)
    assert narrow.num_arcs < tens.num_arcs


def test_acoustic_scale_is_taken_out_of_the_lattices(
    job: Job, matrices: dict, save_table: Save, tmp_path: Path
) -> None:
    run(job, tmp_path / "a", nj=1)
    halves = save_table({utterance: values * 2 for utterance, values in matrices.items()})
    run(job, tmp_path / "b", halves, nj=1, acoustic_scale=0.5)
    (_, plain), (_, scaled) = (next(read_lattices(tmp_path / name / "lat.1.gz")) for name in "ab")
    assert plain.word.tolist() == scaled.word.tolist()
    np.testing.assert_allclose(scaled.cost[:, 1], 2 * plain.cost[:, 1], rtol=1e-3, atol=1e-2)


def test_tables_of_every_kind(job: Job, matrices: dict, tmp_path: Path) -> None:
    from kaldi_quant.kaldi.tables import matrix_writer

    with matrix_writer(f"ark,scp:{tmp_path}/x.ark,{tmp_path}/x.scp") as writer:
        for utterance, values in matrices.items():
            writer.write(utterance, values)
    subprocess.run(["gzip", "-k", tmp_path / "x.ark"], check=True)
    for job_number, utterances in enumerate([list(matrices)[:3], list(matrices)[3:]], 1):
        with matrix_writer(f"ark:{tmp_path}/part.{job_number}.ark") as writer:
            for utterance in utterances:
                writer.write(utterance, matrices[utterance])
    cases = {
        f"scp:{tmp_path}/x.scp": 2,
        f"ark:{tmp_path}/x.ark.gz": 1,
        f"ark:{tmp_path}/part.JOB.ark": 2,
        f"ark:cat {tmp_path}/x.ark |": 1,
        # No name of a file is so long.
        f"ark:cat {tmp_path}/part.JOB.ark; : {'x' * 300} |": 2,
    }
    for number, (rspecifier, jobs) in enumerate(cases.items()):
        folder = tmp_path / f"decode{number}"
        assert run(job, folder, rspecifier, nj=2, allow_pipes=True) == (4, 0)
        assert (folder / "num_jobs").read_text() == f"{jobs}\n"
        found = [utterance for path in find_lattices(folder) for utterance, _ in read_lattices(path)]
        assert found == list(matrices)
    with pytest.raises(UsageError, match="allow-pipes"):
        run(job, tmp_path / "no", f"ark:cat {tmp_path}/x.ark |")
    with pytest.raises(UsageError, match=r"part.3.ark does not exist; --nj must be the number of parts, and is 3"):
        run(job, tmp_path / "no", f"ark:{tmp_path}/part.JOB.ark", nj=3)


def test_bad_utterances_are_reported_counted_and_skipped(
    job: Job, matrices: dict, save_table: Save, tmp_path: Path, caplog
) -> None:
    names = list(matrices)
    table = dict(matrices)
    table[names[1]] = matrices[names[1]].copy()
    table[names[1]][5, 7] = np.nan
    table["empty"] = np.zeros((0, 0), np.float32)
    table["infinite"] = np.full((20, 208), np.inf, np.float32)
    rspecifier = save_table(table)
    assert run(job, tmp_path / "decode", rspecifier, nj=2, max_bad_share=0.5) == (3, 3)
    assert (
        f"leaving out utterance {names[1]}: its log-likelihoods are not all finite numbers: nan at frame 5"
        in caplog.text
    )
    assert "leaving out utterance empty: it has no frames" in caplog.text
    with pytest.raises(DataError, match="3 of 6 utterances could not be used"):
        run(job, tmp_path / "decode", rspecifier, nj=2)
    line = score(str(job.data_dir), str(job.graph_dir), str(tmp_path / "decode"), ScoreOptions())
    assert "[PARTIAL]" in line


def const_graph(path: Path, text: str) -> str:
    assert kaldifst.StdConstFst(kaldifst.compile(text, acceptor=False)).write(str(path))
    return str(path)


def test_an_utterance_without_a_final_state(job: Job, tmp_path: Path) -> None:
    # A graph in which the final state lies behind more words than fit into the utterance.
    text = "0 1 1 5 0.5\n1 1 1 0 0.5\n" + "".join(f"{s} {s + 1} 2 6 0.5\n" for s in range(1, 400)) + "400\n"
    arguments = (
        str(job.model),
        const_graph(tmp_path / "HCLG.fst", text),
        f"ark:{job.loglikes}",
        str(job.graph_dir / "words.txt"),
    )
    counted = decode(*arguments, str(tmp_path / "partial"), DecodeOptions())
    assert counted.good == 4 and "no final state was reached" in (tmp_path / "partial/log/decode.1.log").read_text()
    with pytest.raises(DataError, match="none of the 4 utterances could be used"):
        decode(*arguments, str(tmp_path / "none"), DecodeOptions(allow_partial=False))


def test_a_graph_that_is_too_short(job: Job, tmp_path: Path) -> None:
    graph, words = const_graph(tmp_path / "HCLG.fst", "0 1 1 5 0.5\n1 2 1 0 0.5\n2\n"), str(job.graph_dir / "words.txt")
    with pytest.raises(DataError, match="none of the 4 utterances could be used"):
        decode(str(job.model), graph, f"ark:{job.loglikes}", words, str(tmp_path), DecodeOptions())
    assert "is left out: no path through the graph survives the beam" in (tmp_path / "log" / "decode.1.log").read_text()


def test_log_likelihoods_of_another_model(job: Job, matrices: dict, save_table: Save, tmp_path: Path) -> None:
    rspecifier = save_table({utterance: values[:, :200] for utterance, values in matrices.items()})
    expected = "utterance test000-000 have 200 columns but the transition model has 208 pdfs"
    with pytest.raises(DataError, match=expected):
        run(job, tmp_path / "decode", rspecifier)
    assert not list((tmp_path / "decode").glob("lat.*")), "nothing under a final name"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 1 900 5\n1\n", "transition-id 900, but .*0.trans_mdl has only 852: this graph was made for another model"),
        ("0 1 5 41\n0 1 5 77\n1\n", "word-id 77, which is not in .*words.txt"),
        ("0 1 0 5 -1\n1 0 0 0 0.5\n0\n", "cycle of epsilon arcs with a negative cost"),
        ("0 0 0 0 -0.1\n0\n", "cycle of epsilon arcs with a negative cost"),
        ("0 1 5 5 1e20\n1\n", "cost beyond"),
        ("0 1 5 5\n1 2 7 7\n2\n", "this is a grammar .* and no decoding graph: give HCLG.fst"),
    ],
)
def test_graphs_that_do_not_fit(job: Job, tmp_path: Path, text: str, expected: str) -> None:
    graph = const_graph(tmp_path / "HCLG.fst", text)
    with pytest.raises(DataError, match=expected):
        decode(
            str(job.model),
            graph,
            f"ark:{job.loglikes}",
            str(job.graph_dir / "words.txt"),
            str(tmp_path),
            DecodeOptions(),
        )


def test_negative_costs_without_a_cycle_are_fine(job: Job, tmp_path: Path) -> None:
    graph = const_graph(tmp_path / "HCLG.fst", "0 1 0 0 -1\n1 2 0 0 -2\n2 2 1 0 -0.5\n2 3 1 5 0.5\n3 0 0 0 9\n3\n")
    words = str(job.graph_dir / "words.txt")
    counted = decode(str(job.model), graph, f"ark:{job.loglikes}", words, str(tmp_path / "out"), DecodeOptions(nj=1))
    assert counted.good == 4


def test_one_half_of_a_look_ahead_graph(job: Job, tmp_path: Path) -> None:
    (tmp_path / "HCLr.fst").write_bytes(b"")
    graph, words = str(tmp_path / "HCLG.fst"), str(job.graph_dir / "words.txt")
    with pytest.raises(DataError, match=r"HCLr.fst is one half of a look-ahead graph.*the other, Gr.fst"):
        decode(str(job.model), graph, f"ark:{job.loglikes}", words, str(tmp_path), DecodeOptions())


@pytest.mark.parametrize("missing", ["model", "graph", "words", "loglikes"])
def test_missing_inputs(job: Job, tmp_path: Path, missing: str) -> None:
    absent = str(tmp_path / "absent")
    model, graph, words = str(job.model), str(job.graph), str(job.graph_dir / "words.txt")
    paths = {"model": model, "graph": graph, "words": words, "loglikes": str(job.loglikes), missing: absent}
    with pytest.raises(KaldiQuantError, match=r"absent.*No such file"):
        decode(
            paths["model"], paths["graph"], f"ark:{paths['loglikes']}", paths["words"], str(tmp_path), DecodeOptions()
        )


def test_a_corrupt_graph(job: Job, tmp_path: Path) -> None:
    data = job.graph.read_bytes()
    words = str(job.graph_dir / "words.txt")
    for damaged in (data[: len(data) // 2], data[:40], b"\0" * 100):
        (tmp_path / "HCLG.fst").write_bytes(damaged)
        with pytest.raises(FormatError, match=r"HCLG.fst, byte"):
            decode(
                str(job.model), str(tmp_path / "HCLG.fst"), f"ark:{job.loglikes}", words, str(tmp_path), DecodeOptions()
            )


@pytest.mark.parametrize("where", ["below a file", "read-only"])
def test_an_unwritable_folder(job: Job, tmp_path: Path, where: str) -> None:
    if where == "below a file":
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "decode"
    else:
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        out = tmp_path / "locked" / "decode"
        out.parent.mkdir(mode=0o555)
    with pytest.raises(DataError, match="cannot write"):
        run(job, out)


def test_options_that_make_no_sense() -> None:
    for wrong in ({"beam": 0.0}, {"beam": float("nan")}, {"nj": 0}, {"min_active": 9000}, {"max_bad_share": 2.0}):
        with pytest.raises(UsageError):
            DecodeOptions(**wrong)


FAKE_DECODER = """
import os, signal, sys, time
from typing import Any

class LatticeSimpleDecoderConfig:
    def __init__(self, **options: Any) -> None: ...

class DecodableCtc:
    def __init__(self, values: Any) -> None: ...

class LatticeSimpleDecoder:
    def __init__(self, graph: Any, config: Any) -> None: ...
    def decode(self, decodable: Any) -> bool:
        {action}
        return False
"""


def fake_decoder(folder: Path, action: str) -> dict[str, str]:
    """An environment in which the decoder's package is another."""
    folder.mkdir()
    (folder / "kaldi_decoder.py").write_text(FAKE_DECODER.format(action=action))
    return {"PYTHONPATH": str(folder)}


def test_a_crashing_worker_is_named(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_decoder(tmp_path / "fake", "os.kill(os.getpid(), signal.SIGSEGV)").items():
        monkeypatch.setenv(name, value)
    expected = (
        r"decode job 1 \(2 of 2 jobs failed\): it was ended by signal SIGSEGV at utterance test000-000; see .*log"
    )
    with pytest.raises(DataError, match=expected):
        run(job, tmp_path / "decode", nj=2)
    assert not list((tmp_path / "decode").glob("lat.*")) and not (tmp_path / "decode" / "num_jobs").exists()


def test_jobs_are_copies_of_one_process(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    action = "print('of', os.getppid(), open('/proc/self/cmdline').read().split(chr(0))[2], file=sys.stderr)"
    action += "; raise RuntimeError('enough')"
    for name, value in fake_decoder(tmp_path / "fake", action).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match="none of the 4 utterances"):
        run(job, tmp_path / "decode", nj=2)
    logs = [(tmp_path / "decode" / "log" / f"decode.{number}.log").read_text() for number in (1, 2)]
    of = {line for log in logs for line in log.splitlines() if line.startswith("of ")}
    assert len(of) == 1 and of.pop().endswith(" kaldi_quant.decode.workers")


def test_a_failing_utterance_is_left_out(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_decoder(tmp_path / "fake", "raise RuntimeError('[E]\\n broken')").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match="none of the 4 utterances"):
        run(job, tmp_path / "decode", nj=2)
    log = (tmp_path / "decode" / "log" / "decode.2.log").read_text()
    assert "WARNING utterance test000-002 is left out: the decoder failed: [E] broken\n" in log


def test_a_killed_run_leaves_nothing_half_written_and_can_be_repeated(job: Job, tmp_path: Path) -> None:
    out = tmp_path / "decode"
    slow = {
        **os.environ,
        **fake_decoder(tmp_path / "fake", "print('waiting', file=sys.stderr, flush=True); time.sleep(60)"),
    }
    command = [sys.executable, "-m", "kaldi_quant", *job.decode_arguments(out)]
    process = subprocess.Popen(command, cwd=ROOT, env=slow, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    log = out / "log" / "decode.1.log"
    while not (log.exists() and "waiting" in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    assert list(out.glob(".lat.*.tmp")), "it is in the middle of writing"
    process.kill()
    process.wait()
    assert not list(out.glob("lat.*.gz")) and not (out / "num_jobs").exists()
    with pytest.raises(DataError, match=r"has no lat.JOB.gz"):
        score(str(job.data_dir), str(job.graph_dir), str(out), ScoreOptions())
    (out / ".lat.1.gz.0.tmp").write_bytes(b"what a process leaves that is killed itself")
    assert run_verb(job.decode_arguments(out)) == 0, "it waits for the jobs, which end, too"
    assert not list(out.glob(".lat.*.tmp")) and len(list(out.glob("lat.*.gz"))) == 4
    assert "waiting" not in (out / "log" / "decode.1.log").read_text()


def test_a_kaldi_that_is_not_there(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependencyError, match="KALDI_ROOT is not set"):
        run(job, tmp_path / "a", backend="kaldi")
    monkeypatch.setenv("KALDI_ROOT", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="lacks latgen-faster-mapped"):
        run(job, tmp_path / "a", backend="kaldi")
    assert run(job, tmp_path / "a", backend="auto") == (4, 0), "without its programs the embedded back end decodes"


def test_an_unknown_program_for_jobs(job: Job, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--cmd slurm.pl: not found on PATH"):
        run(job, tmp_path / "a", cmd="slurm.pl --mem 4G")
    assert run(job, tmp_path / "b", cmd="run.pl") == (4, 0), (
        "without a run.pl, jobs are processes on this machine as well"
    )


def scored(job: Job, folder: Path, **changes: Path) -> str:
    places = {"data": job.data_dir, "graph": job.graph_dir, "decode": folder, **changes}
    return score(str(places["data"]), str(places["graph"]), str(places["decode"]), ScoreOptions())


def test_scoring_says_what_is_missing(job: Job, decoded: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FormatError, match=r"empty/text: cannot be read: No such file"):
        scored(job, decoded, data=empty)
    with pytest.raises(FormatError, match=r"empty/words.txt: cannot be read: No such file"):
        scored(job, decoded, graph=empty)
    with pytest.raises(DataError, match=r"empty has no lat.JOB.gz: decode first"):
        scored(job, empty)
    with pytest.raises(DataError, match=r"decode folder .*absent does not exist"):
        scored(job, tmp_path / "absent")
    shutil.copytree(decoded, tmp_path / "half")
    (tmp_path / "half" / "lat.1.gz").unlink()
    with pytest.raises(DataError, match=r"num_jobs says 2 but there are 1 lat.JOB.gz; decode again"):
        scored(job, tmp_path / "half")


def test_scoring_refuses_what_does_not_belong_together(job: Job, decoded: Path, tmp_path: Path) -> None:
    graph = tmp_path / "graph"
    graph.mkdir()
    (graph / "words.txt").write_text("<eps> 0\na 1\n")
    with pytest.raises(DataError, match=r"utterance test000-000: its lattice has the word-id \d+"):
        scored(job, decoded, graph=graph)
    data = tmp_path / "data"
    data.mkdir()
    (data / "text").write_text("another a b\n")
    with pytest.raises(DataError, match="nothing to score: 0 of 1 reference utterances"):
        scored(job, decoded, data=data)
    twice = tmp_path / "twice"
    twice.mkdir()
    for number in (1, 2):
        shutil.copy(decoded / "lat.1.gz", twice / f"lat.{number}.gz")
    with pytest.raises(DataError, match=r"lat.2.gz: the utterance test000-000 already has a lattice in an earlier"):
        scored(job, twice)


def test_the_recipes_own_filter_is_used(
    job: Job, decoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "wer_output_filter").write_text("#!/bin/sh\nsed 's/ five/ FIVE/g'\n")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(decoded, tmp_path / "a")
    scored(job, tmp_path / "a")
    assert "FIVE" not in (tmp_path / "a/scoring_kaldi/test_filt.txt").read_text(), "it is not executable"
    (local / "wer_output_filter").chmod(0o755)
    scored(job, tmp_path / "a")
    for name in ("test_filt.txt", "penalty_0.0/10.txt"):
        text = (tmp_path / "a" / "scoring_kaldi" / name).read_text()
        assert " FIVE" in text and " five" not in text
    (local / "wer_hyp_filter").write_text("#!/bin/sh\nexit 3\n")
    (local / "wer_hyp_filter").chmod(0o755)
    with pytest.raises(DataError, match="wer_hyp_filter ended with status 3"):
        scored(job, tmp_path / "a")


def test_the_first_40_utterances(job: Job, shared: Path, tmp_path: Path) -> None:
    table = shared / "alphadigits" / "reference" / "nnet3_compute.test_first40.ark"
    assert run(job, tmp_path, f"ark:{table}", nj=2) == (40, 0)
    score(str(job.data_dir), str(job.graph_dir), str(tmp_path), ScoreOptions())
    kaldi = read_transcripts(shared / "alphadigits" / "reference" / "kaldi_hyp_lmwt16_wip1.0.txt")
    ours = read_transcripts(tmp_path / "scoring_kaldi" / "penalty_1.0" / "16.txt")
    assert len(ours) == 40 and all(kaldi[utterance] == words for utterance, words in ours.items())
