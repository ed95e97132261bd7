"""``egs/keywords/run.sh`` answers wrong inputs before any work."""

import subprocess
from pathlib import Path

import pytest

from tests.recipes import ROOT, refused_by


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stages", "1"), "there is no option --stages"),
        (("--stage", "9"), "--stage 9 is not one of 0 to 8"),
        (("--stop-stage=x",), "--stop-stage x is not one of 0 to 8"),
        (("--stage",), "--stage needs a value"),
        (("--nj", "0"), "--nj 0: expected a number of 1 or more"),
        (("--networks", "m5,rnn"), "--networks: rnn is not one of m5, nsnet2, wav2vec2"),
        (("--data-dir", "/nowhere"), "--data-dir /nowhere does not exist: expected recordings of keywords"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    assert refused_by("egs/keywords/run.sh", *arguments) == f"egs/keywords/run.sh: {sentence}"


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    sentence = refused_by("egs/keywords/run.sh", "--conf-dir", tmp_path, "--networks", "nsnet2")
    assert sentence == f"egs/keywords/run.sh: --conf-dir {tmp_path} has no nsnet2_fp32.yaml"


def test_help_has_an_example() -> None:
    command = ["bash", str(ROOT / "egs/keywords/run.sh"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Usage: egs/keywords/run.sh" in done.stdout and "e.g.: egs/keywords/run.sh" in done.stdout
