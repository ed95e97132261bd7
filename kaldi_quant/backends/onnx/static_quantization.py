"""onnxruntime's own static quantization of a float ONNX file, for comparison with this project's."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.onnx.reading import one_line
from kaldi_quant.backends.onnx.writer import require_onnx
from kaldi_quant.errors import DataError, MissingDependencyError, ModelError, UsageError

#: How onnxruntime finds ranges of 8-bit activations. (Its Distribution is for 8-bit floats.)
CALIBRATION_METHODS = ("MinMax", "Entropy", "Percentile")
#: By histograms, whose inputs must all be of one size.
OF_ONE_SIZE = ("Entropy", "Percentile")
_STRIDE, _MOST_OUTPUTS, _AVERAGE = "CalibStridedMinMax", "CalibMaxIntermediateOutputs", "CalibMovingAverage"
_SMOOTH = "SmoothQuant"


@dataclass(frozen=True)
class StaticOptions:
    """Options of onnxruntime's ``quantize_static``.

    ``CalibMovingAverage`` is the plain mean of the minima and maxima of all inputs; an exponential one, with
    ``CalibMovingAverageConstant``, is made between the strides of ``CalibStridedMinMax``. onnxruntime 1.31 forgets what
    it has seen whenever ``CalibMaxIntermediateOutputs`` is reached; so that option is a stride here, which gives what
    it promises: the same ranges, with less memory.

    Args:
        per_channel: weights have a scale for each output channel.
        calibration_method: a name of ``CALIBRATION_METHODS``.
        op_types: operators that are quantized; empty for all that onnxruntime can.
        reduce_range: weights have 7 bits.
        extra_options: see its documentation.

    Raises:
        UsageError: there is no such method, or options exclude each other.
    """

    per_channel: bool = True
    calibration_method: str = "MinMax"
    op_types: tuple[str, ...] = ()
    reduce_range: bool = False
    extra_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.calibration_method not in CALIBRATION_METHODS:
            known = ", ".join(CALIBRATION_METHODS)
            raise UsageError(f"the calibration method {self.calibration_method!r} is not one of {known}")
        if self.extra_options.get(_SMOOTH):
            raise UsageError(f"{_SMOOTH} needs neural-compressor, which is not used here: leave it out")
        if self.extra_options.get(_MOST_OUTPUTS) and self.extra_options.get(_AVERAGE):
            raise UsageError(f"{_MOST_OUTPUTS} and {_AVERAGE} exclude each other: onnxruntime loses inputs with both")
        for key in (_STRIDE, _MOST_OUTPUTS):
            value = self.extra_options.get(key)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"{key} must be a whole number above 0, found {value!r}")

    def given(self, inputs: int) -> dict[str, Any]:
        """The extra options as onnxruntime gets them; inputs: how many there are.

        Raises:
            UsageError: the inputs cannot be cut into such strides.
        """
        found = {key: value for key, value in self.extra_options.items() if key != _MOST_OUTPUTS}
        most = self.extra_options.get(_MOST_OUTPUTS)
        if most and self.calibration_method == CALIBRATION_METHODS[0]:
            found[_STRIDE] = max(stride for stride in range(1, most + 1) if inputs % stride == 0)
        if found.get(_STRIDE) and inputs % found[_STRIDE]:
            raise UsageError(
                f"{_STRIDE} {found[_STRIDE]} does not divide the number of inputs to calibrate on, {inputs}"
            )
        return found


def quantize_static(
    model: Path,
    result: Path,
    calibration: Iterable[Mapping[str, np.ndarray]],
    options: StaticOptions = StaticOptions(),
    prepared: Path | None = None,
) -> None:
    """Quantizes weights and activations to 8 bits, operators between QuantizeLinear and DequantizeLinear.

    Args:
        model: the float file.
        result: the file that is made.
        calibration: inputs by name.
        options: how.
        prepared: where the float file is left as onnxruntime prepares it; None: it is not kept.

    Raises:
        MissingDependencyError: onnxruntime's quantization is not installed.
        DataError: there is no float file, or nothing to calibrate on, or the result cannot be written.
        ModelError: onnxruntime cannot quantize it; says why.
        UsageError: an option does not fit.

    Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    require_onnx("onnxruntime's quantization")
    if not model.is_file():
        raise DataError(f"{model}: there is no such file: expected the float network as ONNX, which is made first")
    quantization, quant_pre_process = _packages()
    # Strides have to know how many there are.
    known = list(calibration) if options.extra_options else calibration
    extra = options.given(len(known)) if isinstance(known, list) else {}
    reader = _reader(quantization, known)
    with tempfile.TemporaryDirectory() as folder, atomic_write(result) as stream:
        between, made = Path(folder) / "prepared.onnx", Path(folder) / "made.onnx"
        try:
            with _errors_only():
                quant_pre_process(str(model), str(between), skip_symbolic_shape=True)
                _without_unused_domains(between)
                quantization.quantize_static(
                    str(between),
                    str(made),
                    reader,
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=list(options.op_types),
                    per_channel=options.per_channel,
                    reduce_range=options.reduce_range,
                    calibrate_method=quantization.CalibrationMethod[options.calibration_method],
                    extra_options=extra,
                )
        except Exception as error:  # onnxruntime has many of its own
            raise _refusal(model, error) from error
        if prepared is not None:
            with atomic_write(prepared) as kept:
                kept.write(between.read_bytes())
        stream.write(made.read_bytes())


def _refusal(model: Path, error: Exception) -> DataError | ModelError:
    if str(error).startswith("No data is collected"):
        return DataError(f"{model}: there is nothing to calibrate on")
    return ModelError(f"{model} cannot be quantized by onnxruntime: {one_line(error)}")


def _packages() -> tuple[ModuleType, Any]:
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependencyError(
            f"onnxruntime's quantization needs the package {error.name}: pip install {error.name}"
        ) from error
    return quantization, quant_pre_process


def _reader(quantization: ModuleType, calibration: Iterable[Mapping[str, np.ndarray]]) -> Any:
    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> Any:
            return next(self._left, None)

        def __len__(self) -> int:
            assert isinstance(calibration, list)
            return len(calibration)

        def set_range(self, start_index: int, end_index: int) -> None:
            assert isinstance(calibration, list)
            self._left = iter(calibration[start_index:end_index])

    return Reader()


def _without_unused_domains(path: Path) -> None:
    """What prepares a file imports sets of operators that no node is of; other programs refuse those."""
    import onnx

    model = onnx.load(str(path))
    used = {"" if node.domain == "ai.onnx" else node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    if len(kept) < len(model.opset_import):
        del model.opset_import[:]
        model.opset_import.extend(kept)
        onnx.save(model, str(path))


@contextmanager
def _errors_only() -> Iterator[None]:
    """It warns of what is done here already, and would print all that is ever logged from then on."""
    logger = logging.getLogger()
    level, silent = logger.level, logging.NullHandler()
    logger.setLevel(logging.ERROR)
    logger.addHandler(silent)
    try:
        yield
    finally:
        logger.removeHandler(silent)
        logger.setLevel(level)
