"""Parts of a command that run as copies of its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes import ROOT

# In a process of its own: that of the tests may have threads.
_PROGRAM = """
import os, signal, sys, tempfile, threading, time
from pathlib import Path
import click
from kaldi_quant.cli import main as cli
from kaldi_quant.errors import DataError

folder, what, *more = sys.argv[1:]

def fails(error):
    raise error

def waits():
    with tempfile.TemporaryDirectory(dir=folder):
        Path(folder, "begun").touch()
        time.sleep(60)

WORKS = {
    "well": lambda: print("part", os.getpid() == MAIN),
    "data": lambda: fails(DataError("wrong")),
    "usage": lambda: fails(click.UsageError("no such thing")),
    "bug": lambda: fails(ValueError("surprise")),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "waits": waits,
}
MAIN = os.getpid()

@click.command()
def command():
    print("before", end=" ")
    cli.run_apart(WORKS[what], "kaldi-quant info")
    print("after")

if "threads" in more:
    threading.Thread(target=time.sleep, args=[1], daemon=True).start()
sys.exit(cli.run_recipe(command, "recipe.sh", [word for word in more if word == "--debug"]))
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts a recipe with one part."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PROGRAM, str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize(
    ("arguments", "status", "printed", "said"),
    [
        (["well"], 0, "before part False\nafter\n", ""),
        (["well", "threads"], 0, "before part True\nafter\n", ""),
        (["data"], 1, "before ", "recipe.sh: wrong\n"),
        (["data", "threads"], 1, "before ", "recipe.sh: wrong\n"),
        (["usage"], 2, "before ", "recipe.sh: no such thing\n"),
        (["bug"], 1, "before ", "recipe.sh: internal error, ValueError: surprise; --debug shows where\n"),
        (["killed"], 1, "before ", "recipe.sh: kaldi-quant info was ended by signal SIGKILL (out of memory?)\n"),
    ],
)
def test_a_part_is_reported_as_the_whole(
    tmp_path: Path, arguments: list[str], status: int, printed: str, said: str
) -> None:
    process = start(tmp_path, *arguments)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (status, printed, said)


def test_debug_shows_where_a_part_failed(tmp_path: Path) -> None:
    _, err = start(tmp_path, "data", "--debug").communicate(timeout=60)
    assert err.count("Traceback") == 1 and "in fails" in err and err.endswith("recipe.sh: wrong\n")


def test_a_signal_ends_the_part_too_and_is_told_once(tmp_path: Path) -> None:
    process = start(tmp_path, "waits")
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "recipe.sh: ended by signal SIGTERM\n")
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_recipes_compute_in_copies_and_import_torch_once(tmp_path: Path, example: Path) -> None:
    program = """
import sys
from pathlib import Path
from kaldi_quant.cores import prepare_libraries
prepare_libraries()
from kaldi_quant.cli.recipes.verbs import call_verb
from kaldi_quant.forked import why_not_fork
example, folder = map(Path, sys.argv[1:])
(folder / "feats.scp").write_text("".join(
    line.replace(" data", f" {example}/data")
    for line in (example / "data/test_hires/feats.scp").open().readlines()[:3]
))
tables = [f"scp:{folder}/feats.scp", f"ark:{folder}/cmvn.ark"]
call_verb("compute-cmvn-stats", tables, folder / "stats.log")
print("torch" in sys.modules)
model = example / "exp/chain/tdnn1a_sp/final.mdl"
call_verb("forward", ["--num-threads=2", model, tables[0], f"ark:{folder}/loglikes.ark"], folder / "forward.log")
print("torch" in sys.modules, "kaldi_quant.nnet3.inference" in sys.modules, why_not_fork())
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OPENBLAS_NUM_THREADS", None)
    command = [sys.executable, "-c", program, str(example), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.stdout.splitlines() == ["False", "True False None"], done.stderr
    for name in ("stats.log", "forward.log"):
        assert "# Ended (code 0)" in (tmp_path / name).read_text()
