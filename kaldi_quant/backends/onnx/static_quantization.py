"""onnxruntime's own static quantization of a float ONNX file, for comparison with this project's."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.onnx.writer import require_onnx
from kaldi_quant.errors import DataError, MissingDependencyError


def quantize_static(model: Path, result: Path, calibration: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Quantizes weights and activations to 8 bits, weights per channel, operators between QuantizeLinear and
    DequantizeLinear; ranges are minima and maxima.

    Args:
        model: the float file.
        result: the file that is made.
        calibration: inputs by name.

    Raises:
        MissingDependencyError: onnxruntime's quantization is not installed.
        DataError: there is no float file, or the result cannot be written.

    Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    require_onnx("onnxruntime's quantization")
    if not model.is_file():
        raise DataError(f"{model}: there is no such file: expected the float network as ONNX, which is made first")
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependencyError(
            f"onnxruntime's quantization needs the package {error.name}: pip install {error.name}"
        ) from error

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> Any:
            return next(self._left, None)

    # It warns of what is done here already.
    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory() as folder, atomic_write(result) as stream:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "made.onnx"
        logger.setLevel(logging.ERROR)
        try:
            quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared), str(made), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True
            )
        finally:
            logger.setLevel(level)
        stream.write(made.read_bytes())
