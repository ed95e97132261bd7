"""The command itself: what it says of errors, and which exit status it gives."""

import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch

from kaldi_quant import __version__
from kaldi_quant.cli import main as cli
from kaldi_quant.cli.options import KaldiCommand, kaldi_bool_option
from kaldi_quant.errors import DataError
from kaldi_quant.processes import TerminatedError


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replaces ``info`` by a verb that notes its options or raises what stands in ``raises``."""
    seen: list[object] = []

    @click.command(cls=KaldiCommand)
    @kaldi_bool_option("--binary", default=True, help="")
    @click.option("--number", type=int, default=3)
    @click.argument("path", nargs=-1)
    def command(binary: bool, number: int, path: tuple[str, ...]) -> None:
        if path and path[0] in ERRORS:
            raise ERRORS[path[0]]
        seen.append((binary, number, path))

    monkeypatch.setattr(cli.VerbGroup, "get_command", lambda self, ctx, name: command if name == "info" else None)
    return seen


def refused_tensor() -> RuntimeError:
    """What torch says where a tensor is larger than any memory."""
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**15)
    return refused.value


ERRORS: dict[str, BaseException] = {
    "data": DataError("utterance u:\n wrong"),
    "os": FileNotFoundError(2, "No such file or directory", "x.mdl"),
    "memory": MemoryError(),
    "array": MemoryError("Unable to allocate 1 TiB"),
    "tensor": refused_tensor(),
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB."),
    "interrupt": KeyboardInterrupt(),
    "end": TerminatedError(signal.SIGTERM),
    "bug": ValueError("surprise"),
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a", "b"], (True, 3, ("a", "b"))),
        (["a//b/", "x=c//", "ark:d//e.ark", "cat f//g |"], (True, 3, ("a/b", "x=c", "ark:d/e.ark", "cat f//g |"))),
        (["--binary", "a", "b"], (True, 3, ("a", "b"))),
        (["--binary=false", "a"], (False, 3, ("a",))),
        (["--binary", "false", "a"], (False, 3, ("a",))),
        (["--binary", "true", "a"], (True, 3, ("a",))),
        (["a", "--number=5", "--binary=F"], (False, 5, ("a",))),
        (["--", "--binary"], (True, 3, ("--binary",))),
    ],
)
def test_booleans_as_kaldi_takes_them(verb: list[object], arguments: list[str], expected: tuple[object, ...]) -> None:
    assert cli.run(["info", *arguments]) == 0
    assert verb == [expected]


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("data", 1, "kaldi-quant info: utterance u: wrong\n"),
        ("os", 1, "kaldi-quant info: x.mdl: No such file or directory\n"),
        ("memory", 1, "kaldi-quant info: not enough memory: use fewer jobs or smaller batches\n"),
        ("array", 1, "kaldi-quant info: not enough memory: Unable to allocate 1 TiB\n"),
        ("tensor", 1, "kaldi-quant info: not enough memory: use fewer jobs or smaller batches\n"),
        ("gpu", 1, "kaldi-quant info: not enough memory on the GPU: use fewer jobs or smaller batches\n"),
        ("interrupt", 130, "kaldi-quant info: interrupted\n"),
        ("end", 143, "kaldi-quant info: ended by signal SIGTERM\n"),
        ("bug", 1, "kaldi-quant info: internal error, ValueError: surprise; --debug shows where\n"),
    ],
)
def test_errors_are_one_sentence(
    verb: list[object], capsys: pytest.CaptureFixture[str], kind: str, status: int, message: str
) -> None:
    assert cli.run(["info", kind]) == status
    assert capsys.readouterr().err.lstrip("\n") == message


def test_debug_shows_the_traceback(verb: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["info", "data", "--debug"])
    assert leaving.value.code == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_log_file_holds_progress_and_errors(example: Path, tmp_path: Path) -> None:
    scp = f"scp:{example}/data/test_wav/wav.scp"
    assert cli.run(["--log", f"{tmp_path}/log/a.log", "make-mfcc", scp, f"ark:{tmp_path}/feats.ark"]) == 0
    text = (tmp_path / "log" / "a.log").read_text()
    assert "computing MFCC: 12 utterances" in text
    assert text.startswith(f"# kaldi-quant --log {tmp_path}/log/a.log make-mfcc {scp} ark:{tmp_path}/feats.ark\n# St")
    assert "# Ended (code 0) at " in text.splitlines()[-1] and "# Accounting: time=" in text.splitlines()[-2]
    assert cli.run(["--log", f"{tmp_path}/log/a.log", "make-mfcc", "scp:missing", f"ark:{tmp_path}/feats.ark"]) == 1
    text = (tmp_path / "log" / "a.log").read_text()
    assert "missing: cannot be read" in text and "# Ended (code 1) at " in text.splitlines()[-1]


def test_an_unknown_option_is_answered_by_the_known(verb: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", "--nonsense"]) == 2
    error = capsys.readouterr().err
    assert "--nonsense" in error
    assert "--binary (default: true)" in error
    assert "--number (default: 3)" in error


@pytest.mark.parametrize("arguments", [["info", "--number=x"], ["info", "--binary=x"]])
def test_bad_values(verb: list[object], capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.run(arguments) == 2
    assert "Invalid value" in capsys.readouterr().err


def test_an_unknown_verb_is_answered_by_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["frobnicate"]) == 2
    assert f"allowed verbs: {', '.join(cli.VERBS)}" in capsys.readouterr().err


def test_no_verb_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    assert "Verbs:" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "script", ["run_forward_pass_quantization.sh", "run_qat.sh", "run_mixed.sh", "run_enhanced.sh", "run_tdnn_qat.py"]
)
def test_help_of_recipes_needs_no_torch(script: str) -> None:
    program = (
        "import sys; from kaldi_quant.cli.recipes.__main__ import main; "
        f"status = main([{script!r}, '--help']); assert 'torch' not in sys.modules, 'slow import'; sys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--bits" in result.stdout or "--budget" in result.stdout


def test_help_needs_neither_torch_nor_numpy() -> None:
    program = (
        "import sys; from kaldi_quant.cli.main import run; status = run(['--help']); "
        "assert not {'torch', 'numpy'} & set(sys.modules), 'slow import'; sys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(verb in result.stdout for verb in cli.VERBS)


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_every_verb_has_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    assert f"kaldi-quant {name}" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m kaldi_quant make-mfcc --help | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
