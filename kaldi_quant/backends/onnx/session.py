"""onnxruntime's sessions, and what its optimizer makes of a graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaldi_quant.backends.onnx.writer import require_onnx

if TYPE_CHECKING:
    import onnx

_ERRORS_ONLY = 3


def open_session(model: onnx.ModelProto | bytes, threads: int = 1, optimized: Path | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        model: a graph, or the content of a file.
        threads: it computes with.
        optimized: where to store the graph that is really executed.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """
    require_onnx("integer execution")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait in a loop for work would slow other processes down.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def optimized_graph(model: onnx.ModelProto | bytes) -> onnx.ModelProto:
    """The graph that onnxruntime really executes on this machine."""
    require_onnx("the optimized graph")
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        open_session(model, optimized=path)
        return onnx.load(path)
