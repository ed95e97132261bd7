"""Two runs do not write into one folder."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError
from kaldi_quant.folder_lock import folder_lock

_HOLD = """
import sys
from pathlib import Path
from kaldi_quant.folder_lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_other_process_is_named_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        message = rf"is in use by process {other.pid} on .*: wait for it to end"
        with pytest.raises(DataError, match=message), folder_lock(tmp_path):
            pass
        other.kill()
        other.wait()
    with folder_lock(tmp_path):
        pass


_START = """
import sys, time
from pathlib import Path
from kaldi_quant.folder_lock import folder_lock
from kaldi_quant.processes import start_group
with folder_lock(Path(sys.argv[1])):
    print(start_group(["bash", "-c", "read; true"]).pid, flush=True)
    time.sleep(60)
"""


def test_jobs_of_a_killed_process_hold_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaldi_quant.folder_lock._WAIT_SECONDS", 0.3)
    command = [sys.executable, "-c", _START, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None and killed.stdin is not None
        assert int(killed.stdout.readline()) > 0
        killed.kill()
        killed.wait()
        message = rf"is in use by jobs of process {killed.pid} on .*, which has ended itself"
        with pytest.raises(DataError, match=message), folder_lock(tmp_path):
            pass
        # The job ends when its input does, while the other one waits.
        killed.stdin.close()
        monkeypatch.setattr("kaldi_quant.folder_lock._WAIT_SECONDS", 10)
        with folder_lock(tmp_path):
            pass


def test_one_process_may_lock_a_folder_again(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "new"), folder_lock(tmp_path / "new" / ".." / "new"):
        assert (tmp_path / "new" / ".lock").exists()


def test_errors_within_are_not_the_locks(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(FileNotFoundError), folder_lock(tmp_path):
        (tmp_path / "final.mdl").read_bytes()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the folder"), folder_lock(tmp_path / "file" / "out"):
        pass


@pytest.mark.parametrize("verb", ["quantize", "export", "decode", "score"])
def test_verbs_hold_the_folder_that_they_write(verb: str, example: Path, tmp_path: Path) -> None:
    model, data = example / "exp/chain/tdnn1a_sp", example / "data"
    feats = f"scp:{data}/train_sub_hires/feats.scp"
    if verb == "export":
        assert (
            run(["quantize", "--preset=baseline", "--max-utterances=2", f"{model}/final.mdl", feats, f"{tmp_path}"])
            == 0
        )
    (tmp_path / "lat.1.gz").write_bytes(b"")
    arguments = {
        "quantize": ["--max-utterances=2", f"{model}/final.mdl", feats],
        "export": [f"{tmp_path}/quantized.safetensors"],
        "decode": [f"{model}/final.mdl", f"{model}/graph_alphadigits/HCLG.fst", "ark:none.ark"],
        "score": [f"{data}/test_hires", f"{model}/graph_alphadigits"],
    }[verb]
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        messages = io.StringIO()
        with contextlib.redirect_stderr(messages):
            status = run([verb, *arguments, str(tmp_path)])
        other.kill()
    assert status == 1 and f"is in use by process {other.pid}" in messages.getvalue()
