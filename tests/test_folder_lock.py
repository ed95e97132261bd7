"""Two runs do not write into one folder."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_one_process_may_lock_a_folder_again(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "new"), folder_lock(tmp_path / "new" / ".." / "new"):
        assert (tmp_path / "new" / ".lock").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the folder"), folder_lock(tmp_path / "file" / "out"):
        pass
