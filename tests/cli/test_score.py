"""``kaldi-quant score`` and ``local/decode/score.sh`` as a user calls them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folders(example: Path, tmp_path: Path) -> list[str]:
    """The arguments of both: data, graph and a decode folder with Kaldi's own lattices."""
    decode = tmp_path / "decode"
    decode.mkdir()
    shutil.copy(ROOT / "tests" / "data" / "decode" / "lat.1.gz", decode)
    graph = example / "exp" / "chain" / "tdnn1a_sp" / "graph_alphadigits"
    return [str(example / "data" / "test_hires"), str(graph), str(decode)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("KALDI_ROOT", "CONDA_PREFIX")}
    environment = {**kept, "VIRTUAL_ENV": sys.prefix}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=ROOT)


@pytest.mark.parametrize("command", [[sys.executable, "-m", "kaldi_quant", "score"], ["bash", "local/decode/score.sh"]])
def test_the_last_line_is_the_best_wer(folders: list[str], command: list[str]) -> None:
    options = ["--min-lmwt", "9", "--max-lmwt=11", "--word-ins-penalty", "0.0,2.0"]
    done = run(*command, *options, *folders)
    assert done.returncode == 0, done.stderr
    decode = Path(folders[2])
    last = done.stdout.splitlines()[-1]
    assert last == (decode / "scoring_kaldi" / "best_wer").read_text().strip() and last.startswith("%WER ")
    assert sorted(path.name for path in decode.glob("wer_*")) == sorted(
        f"wer_{weight}_{penalty}" for weight in (9, 10, 11) for penalty in ("0.0", "2.0")
    )


def test_errors_are_one_sentence(folders: list[str]) -> None:
    done = run(sys.executable, "-m", "kaldi_quant", "score", "--word-ins-penalty", "a,b", *folders)
    assert done.returncode == 1
    assert done.stderr == "kaldi-quant score: --word-ins-penalty expects numbers such as 0.0,0.5,1.0, found 'a'\n"
    done = run(sys.executable, "-m", "kaldi_quant", "score", *folders[:2], folders[2] + "x")
    assert (
        done.returncode == 1 and done.stderr == f"kaldi-quant score: the decode folder {folders[2]}x does not exist\n"
    )


def test_the_recipe_checks_its_inputs(folders: list[str]) -> None:
    recipe = "local/decode/score.sh"
    done = run("bash", recipe, *folders[:2], folders[0])
    assert done.returncode == 1 and "has no lat.JOB.gz: decode first" in done.stderr
    done = run("bash", recipe, "--min-lmw", "3", *folders)
    assert done.returncode == 2 and "No such option '--min-lmw'" in done.stderr
    done = run("bash", recipe, folders[0])
    assert done.returncode == 2 and "Missing argument 'GRAPH-DIR'" in done.stderr
