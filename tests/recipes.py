"""Runs recipes in the process of the test, as their scripts do."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.cli.recipes.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What a recipe left: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def score(self) -> str:
        """The last line, without the name of the score's file."""
        return self.stdout.splitlines()[-1].partition("]")[0]


@contextlib.contextmanager
def settings(folder: Path, **environment: str) -> Iterator[None]:
    """The current folder and the environment of the block."""
    before, place = dict(os.environ), Path.cwd()
    os.environ.update({"KALDI_ROOT": "", **environment})
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)


def run(recipe: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> Outcome:
    """Runs a recipe without Kaldi, unless the environment names it."""
    out, err = io.StringIO(), io.StringIO()
    with settings(cwd, **environment), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([recipe, *map(str, arguments)])
    return Outcome(status, out.getvalue(), err.getvalue())


def few_utterances(source: Path, target: Path, count: int, root: Path) -> None:
    """Copies the first utterances of a data folder.

    Args:
        source: the data folder.
        target: the new one.
        count: of utterances.
        root: of the recipe that the source belongs to: the paths in ``feats.scp`` become absolute.
    """
    target.mkdir(parents=True)
    for name in ("feats.scp", "text", "utt2spk"):
        lines = (source / name).read_text().splitlines(keepends=True)[:count]
        (target / name).write_text("".join(lines).replace(" data/", f" {root}/data/"))


def refused_by(script: str, *arguments: object) -> str:
    """What a script of the shell says last of arguments that it refuses: a line on standard error, and status 1."""
    command = ["bash", str(ROOT / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and not done.stdout
    return done.stderr.splitlines()[-1]
