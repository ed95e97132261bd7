"""How much memory networks need while they run in onnxruntime, each measured in a process of its own.

The greatest part of the process that was in memory at any time, less what was there before the network was loaded.
``python3 -m kaldi_quant.frontends.measures.memory MODEL.onnx INPUTS.npz ...`` prints it for each pair of files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.backends.onnx.writer import require_onnx
from kaldi_quant.errors import DataError
from kaldi_quant.units import Bytes

_STATUS = Path("/proc/self/status")
# Linux: the greatest size is that of now (proc(5), clear_refs).
_RESET, _RESET_PEAK = Path("/proc/self/clear_refs"), "5"
_SECONDS = 600


def peak_memory(calls: Sequence[tuple[Path, Mapping[str, np.ndarray]]]) -> list[Bytes | None]:
    """The memory that calls of networks need, weights included; None for all where the system does not tell.

    Args:
        calls: ONNX files, and inputs by name.

    Raises:
        DataError: a network cannot be run.
    """
    if not _RESET.exists():
        return [None] * len(calls)
    with tempfile.TemporaryDirectory() as folder:
        words = []
        for number, (model, inputs) in enumerate(calls):
            file = Path(folder) / f"{number}.npz"
            np.savez(file, **inputs)  # type: ignore[arg-type]
            words += [str(model), str(file)]
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-m", __name__, *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_SECONDS, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"the memory that a network needs cannot be measured: {last}")
    return [int(line) for line in done.stdout.split()]


def _kilobytes(field: str) -> int:
    return next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(field))


def _measure(model: Path, inputs: dict[str, np.ndarray]) -> None:
    before = _kilobytes("VmRSS")
    _RESET.write_text(_RESET_PEAK)
    session = open_session(model.read_bytes())
    session.run(None, inputs)
    print(max(0, _kilobytes("VmHWM") - before) * 1024, flush=True)


def _main(words: Sequence[str]) -> int:
    # What onnxruntime itself needs is no part of a network.
    require_onnx("the measure of memory")
    for model, inputs in zip(words[::2], words[1::2], strict=True):
        given = dict(np.load(inputs))
        child = os.fork()
        if not child:
            status = 1
            try:
                _measure(Path(model), given)
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                # Libraries that a copied process ends in order may wait for threads that it does not have.
                sys.stderr.flush()
                os._exit(status)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
