"""Graphs in memory: of both types the same, and shared by the jobs of a decoding."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.decoding_graph import SyntheticGraph
from kaldi_quant.decode.checks import check_graph
from kaldi_quant.kaldi.fst_file import FstFile, read_fst
from kaldi_quant.kaldi.fst_properties import strong_components
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model

from .conftest import ROOT

kaldifst = pytest.importorskip("kaldifst")
pytest.importorskip("kaldi_decoder")
MODEL = ROOT / "egs/alphadigits/exp/chain/tdnn1a_sp/0.trans_mdl"

# In a process of its own: that of the tests may have threads.
_LOAD = """
import sys
from kaldi_quant.decode.graph import load_graph
from kaldi_quant.forked import why_not_fork
graph = load_graph(sys.argv[1])
print(graph.type, graph.num_states, why_not_fork())
assert graph.write(sys.argv[2])
"""


@pytest.fixture(scope="module")
def model() -> TransitionModel:
    return read_transition_model(MODEL)


def loaded(path: Path, program: str = _LOAD) -> tuple[str, bytes]:
    """What is said of a graph that was loaded, and what kaldifst writes of it."""
    out = path.with_suffix(".out")
    command = [sys.executable, "-c", program, str(path), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env={"OMP_NUM_THREADS": "1"})
    return done.stdout.strip(), out.read_bytes()


@pytest.mark.parametrize("bytes_", [3_000, 100_000])
def test_a_vector_graph_is_loaded_as_a_const_one(tmp_path: Path, model: TransitionModel, bytes_: int) -> None:
    synthetic = SyntheticGraph.of_size(model, bytes_, "vector")
    for form in ("vector", "const"):
        synthetic.write(tmp_path / f"{form}.fst", form)
    said, vector = loaded(tmp_path / "vector.fst")
    assert said == f"const {synthetic.num_states} None"
    assert (said, vector) == loaded(tmp_path / "const.fst")
    # Where a process cannot be copied, kaldifst reads the file itself.
    threads = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    assert loaded(tmp_path / "vector.fst", threads + _LOAD)[0].startswith(
        f"vector {synthetic.num_states} other threads"
    )


def test_synthetic_graphs_are_decoding_graphs(tmp_path: Path, model: TransitionModel) -> None:
    """Of the size that was asked for, with loops, words and epsilon arcs, and each state leads to each other."""
    for form in ("const", "vector"):
        synthetic = SyntheticGraph.of_size(model, 200_000, form)
        path = tmp_path / f"{form}.fst"
        synthetic.write(path, form)
        synthetic.write_words(tmp_path / "words.txt")
        assert 150_000 < path.stat().st_size < 250_000
        words = read_symbol_table(tmp_path / "words.txt")
        check_graph(FstFile(path), str(path), model, str(MODEL), words, "words.txt")
        fst = read_fst(path)
        assert (fst.num_states, len(fst.arcs)) == (synthetic.num_states, synthetic.num_arcs)
        loops = fst.nextstate == fst.source
        assert model.is_self_loop[fst.ilabel[loops]].all() and not model.is_self_loop[fst.ilabel[~loops]].any()
        assert len(set(strong_components(fst).tolist())) == 1 and set(fst.olabel.tolist()) == set(words) - {
            len(words) - 1
        }


# Decodes in a copy of the process that has loaded the graph; prints the copy's memory in MB, shared and not.
_DECODE = """
import sys
from pathlib import Path
import numpy as np
from kaldi_quant.decode.embedded_decoder import EmbeddedDecoder
from kaldi_quant.decode.graph import load_graph
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.forked import run_forked
from kaldi_quant.kaldi.transition_model import read_transition_model
graph, pdfs = load_graph(sys.argv[1]), read_transition_model(sys.argv[2]).transition_id_to_pdf
def work():
    decoder = EmbeddedDecoder(graph, pdfs, DecodeOptions(beam=6), Path(sys.argv[1]).parent)
    decoder.decode("utt", np.random.default_rng(0).normal(size=(30, pdfs.max() + 1)).astype(np.float32))
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.split()[0] in ("Rss:", "Private_Dirty:"):
            print(int(line.split()[1]) // 1024)
raise SystemExit(run_forked(work))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("form", ["const", "vector"])
def test_a_job_shares_the_graph(tmp_path: Path, model: TransitionModel, form: str) -> None:
    SyntheticGraph.of_size(model, 40_000_000, form).write(tmp_path / "HCLG.fst", form)
    command = [sys.executable, "-c", _DECODE, str(tmp_path / "HCLG.fst"), str(MODEL)]
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    resident, own = map(int, done.stdout.split())
    assert resident > 60 and own < resident / 2


def test_the_benchmark_measures_what_it_says() -> None:
    command = [sys.executable, "benchmarks/decoding.py", "--megabytes=0.5", "--nj=2", "--utterances=2", "--seconds=1"]
    done = subprocess.run([*command, "--long=0"], check=True, capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    names = [line.split(":")[0] for line in lines]
    assert names[:4] == ["const graph", "--nj 2", "the graph", "ordinary utterances"]
    memory = float(re.findall(r"PSS (\d+) MB", lines[1])[0])
    assert 20 < memory < 200 and "search" in lines[4] and lines[5].startswith("  of the search: search 1.00")
