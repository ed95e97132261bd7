"""How much memory a network needs while it runs in onnxruntime, measured in a process of its own.

The greatest part of the process that was in memory at any time, less what was there before the network was loaded.
``python3 -m kaldi_quant.frontends.measures.memory MODEL.onnx INPUTS.npz`` prints it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.units import Bytes

_STATUS = Path("/proc/self/status")
# Linux: the greatest size is that of now (proc(5), clear_refs).
_RESET, _RESET_PEAK = Path("/proc/self/clear_refs"), "5"
_SECONDS = 600


def peak_memory(model: Path, inputs: Mapping[str, np.ndarray]) -> Bytes | None:
    """The memory that a call of a network needs, weights included; None where the system does not tell.

    Args:
        model: an ONNX file.
        inputs: of the call, by name.

    Raises:
        DataError: the network cannot be run.
    """
    if not _RESET.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inputs.npz"
        np.savez(file, **inputs)  # type: ignore[arg-type]
        command = [sys.executable, "-m", __name__, str(model), str(file)]
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_SECONDS, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{model}: the memory that it needs cannot be measured: {last}")
    return int(done.stdout)


def _kilobytes(field: str) -> int:
    return next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(field))


def _main() -> None:
    from kaldi_quant.backends.onnx.session import open_session

    model, inputs = Path(sys.argv[1]), dict(np.load(sys.argv[2]))
    # What onnxruntime itself needs is no part of the network.
    import onnxruntime  # noqa: F401

    before = _kilobytes("VmRSS")
    _RESET.write_text(_RESET_PEAK)
    session = open_session(model.read_bytes())
    session.run(None, inputs)
    print(max(0, _kilobytes("VmHWM") - before) * 1024)


if __name__ == "__main__":
    _main()
