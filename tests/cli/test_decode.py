"""``kaldi-quant decode`` and ``local/decode/generate_lattices.sh`` as a user calls them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaldi_quant.cli import decode as verb
from kaldi_quant.decode.options import DecodeOptions

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Without Kaldi, and with this Python as the active environment."""
    kept = {name: value for name, value in os.environ.items() if name not in ("KALDI_ROOT", "CONDA_PREFIX")}
    return {**kept, "VIRTUAL_ENV": sys.prefix}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, env=environment(), cwd=ROOT
    )


@pytest.fixture(scope="session")
def inputs(example: Path) -> list[str]:
    model = example / "exp" / "chain" / "tdnn1a_sp"
    loglikes = example / "reference" / "nnet3_compute.test_first4.ark"
    return [str(model / "final.mdl"), str(model / "graph_alphadigits" / "HCLG.fst"), f"ark:{loglikes}"]


def test_decode(inputs: list[str], tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "kaldi_quant", "decode", "--nj", "2", *inputs, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lat.2.gz").exists() and "4 utterances decoded, 0 left out" in done.stderr


def test_errors_are_one_sentence(inputs: list[str], tmp_path: Path) -> None:
    done = run(
        sys.executable, "-m", "kaldi_quant", "decode", inputs[0], tmp_path / "HCLG.fst", inputs[2], tmp_path / "out"
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"kaldi-quant decode: {tmp_path}/words.txt: cannot be read: No such file or directory\n"


def test_options_reach_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Counted:
        good, bad = 1, 0

    def record(*arguments: object) -> Counted:
        seen.append(arguments)
        return Counted()

    monkeypatch.setattr(verb, "decode", record)
    arguments = ["final.mdl", "graph/HCLG.fst", "ark:l.ark", "out"]
    assert CliRunner().invoke(verb.command, arguments).exit_code == 0
    assert seen.pop() == ("final.mdl", "graph/HCLG.fst", "ark:l.ark", "graph/words.txt", "out", DecodeOptions())
    changed = (
        "--word-symbol-table w --nj 7 --beam 9 --lattice-beam 4 --max-active 100 --min-active 3 --acoustic-scale 0.1 "
    )
    changed += "--post-decode-acwt 1 --allow-partial=false --backend embedded --max-bad-share 0.3 --allow-pipes"
    result = CliRunner().invoke(verb.command, [*changed.split(), "--cmd", "run.pl --mem 4G", *arguments])
    assert result.exit_code == 0
    expected = DecodeOptions(9.0, 4.0, 100, 3, 0.1, 1.0, False, 7, "embedded", "run.pl --mem 4G", 0.3, True)
    assert seen.pop()[3:] == ("w", "out", expected)


def test_the_recipe(inputs: list[str], tmp_path: Path) -> None:
    model, graph, loglikes = inputs
    words = Path(graph).parent / "words.txt"
    recipe = "local/decode/generate_lattices.sh"
    done = run("bash", recipe, "--nj", "2", "--lattice_beam=6", words, model, graph, loglikes, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "lat.2.gz").exists()
    assert '"--lattice-beam": 6.0' in (tmp_path / "out" / ".made" / "lat.1.gz.json").read_text()
    missing = run("bash", recipe, words, tmp_path / "absent.mdl", graph, loglikes, tmp_path / "out")
    assert missing.returncode == 1 and missing.stderr == f"{recipe}: no such file {tmp_path}/absent.mdl\n"
    wrong = run("bash", recipe, words, model)
    assert wrong.returncode == 1 and wrong.stderr.startswith(f"Usage: {recipe} ") and "e.g.:" in wrong.stderr


def test_the_recipes_options() -> None:
    recipe = "local/decode/generate_lattices.sh"
    shown = run("bash", recipe, "--help")
    assert shown.returncode == 0 and "--nj INTEGER" in shown.stderr and shown.stderr.startswith(f"Usage: {recipe} ")
    for wrong, expected in (
        (["--njobs", "4"], "No such option '--njobs'"),
        (["--allow-pipes=perhaps"], "expected true or false, found 'perhaps'"),
        (["--nj", "x"], "'x' is not a valid integer"),
    ):
        done = run("bash", recipe, *wrong, *[ROOT / "README.md"] * 3, "ark:none.ark", "out")
        assert done.returncode == 2 and expected in done.stderr, done.stderr
