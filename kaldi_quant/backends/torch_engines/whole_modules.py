"""PyTorch's eager quantization of a whole module, as its users apply it: fuse, prepare, calibrate or train, convert.

What comes out is PyTorch's own module with its own grids, for comparison; it is no ``QuantizedNetwork``. Of the engine
``x86`` the default settings have 7-bit activations (``reduce_range``): results are meant to be those that users get.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.ao import quantization as ao

from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.torch_engines.kernels import Engine, engine_in_use, engine_named, without_notes
from kaldi_quant.registry import Registry

#: How PyTorch finds ranges of activations: affine histograms are its default on x86.
MODULE_OBSERVERS: Registry[Any] = Registry("observer of PyTorch")
_SEVEN_BITS = {"dtype": torch.quint8, "reduce_range": True}
MODULE_OBSERVERS.add("histogram")(ao.HistogramObserver.with_args(**_SEVEN_BITS))
MODULE_OBSERVERS.add("histogram-symmetric")(
    ao.HistogramObserver.with_args(qscheme=torch.per_tensor_symmetric, **_SEVEN_BITS)
)
MODULE_OBSERVERS.add("moving-average")(ao.MovingAverageMinMaxObserver.with_args(**_SEVEN_BITS))
MODULE_OBSERVERS.add("minmax")(ao.MinMaxObserver.with_args(**_SEVEN_BITS))

_DEFAULT = "histogram"
# The first with scales for each channel.
_OPSET = 13

#: Whole modules run on these.
WholeEngine = Literal["x86", "fbgemm", "qnnpack", "onednn"]


class QuantizedModule(nn.Module):
    """A module that PyTorch has quantized, from float input to float output; it runs on the engine it was made for."""

    def __init__(self, module: nn.Module, engine: Engine) -> None:
        super().__init__()
        self.module, self.engine = module, engine

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the float module."""
        with engine_in_use(self.engine), without_notes():
            result: Tensor = self.module(*inputs)
        return result


def quantize_module(
    module: nn.Module,
    fused: Sequence[Sequence[str]],
    calibration: Iterable[Tensor],
    observer: str = _DEFAULT,
    engine: WholeEngine = "x86",
) -> QuantizedModule:
    """Quantizes a module after training.

    Args:
        module: in float, of parts that PyTorch quantizes; it is left as it is.
        fused: names of submodules that become one: convolution, normalization, ReLU.
        calibration: inputs.
        observer: of activations, a name of ``MODULE_OBSERVERS``; weights are quantized per channel.
        engine: whose settings are taken, and on which the result runs.

    Raises:
        UsageError: there is no such observer, or the machine lacks the engine.
    """
    settings = _settings(observer, engine)
    with without_notes(), engine_in_use(engine_named(engine)), torch.no_grad():
        prepared = _wrapped(module, fused, settings)
        ao.prepare(prepared, inplace=True)
        for x in calibration:
            prepared(x)
        return QuantizedModule(ao.convert(prepared), engine_named(engine))


def prepare_module(
    module: nn.Module, fused: Sequence[Sequence[str]], example: Tensor, engine: WholeEngine = "x86"
) -> nn.Module:
    """A module with PyTorch's fake quantization, ready to be trained.

    Normalizations are folded into convolutions before training, as by ``fuse_modules`` in test mode.

    Args:
        module: as of ``quantize_module``.
        fused: likewise.
        example: an input, with which ranges begin.
        engine: whose settings are taken.

    Raises:
        UsageError: the machine lacks the engine.
    """
    with without_notes(), engine_in_use(engine_named(engine)), torch.no_grad():
        wrapped = _wrapped(module, fused, ao.get_default_qat_qconfig(engine))
        prepared: nn.Module = ao.prepare_qat(wrapped.train())
        prepared(example)
    return prepared


def convert_module(trained: nn.Module, engine: WholeEngine = "x86") -> QuantizedModule:
    """What ``prepare_module`` gave, when it has been trained, in integers."""
    with without_notes(), engine_in_use(engine_named(engine)):
        return QuantizedModule(ao.convert(copy.deepcopy(trained).eval()), engine_named(engine))


def quantize_dynamic(
    module: nn.Module, engine: WholeEngine = "x86", kinds: Sequence[type[nn.Module]] = (nn.Linear, nn.GRU, nn.LSTM)
) -> nn.Module:
    """A module whose fully connected and recurrent layers PyTorch quantizes with ranges of each call.

    Args:
        module: in float; it is left as it is.
        engine: on which the result runs.
        kinds: of layers.

    Raises:
        UsageError: the machine lacks the engine.
    """
    with without_notes(), engine_in_use(engine_named(engine)):
        found: nn.Module = ao.quantize_dynamic(copy.deepcopy(module).eval(), set(kinds), dtype=torch.qint8)
        return found


def export_module(network: nn.Module, example: Tensor, path: Path, any_batch: bool) -> Path:
    """Writes a network that holds a ``QuantizedModule`` as ONNX: operators between QuantizeLinear and DequantizeLinear.

    Args:
        network: from one input to one output.
        example: an input, (1, ...).
        path: the file.
        any_batch: whether the first axis has any length.

    Raises:
        DataError: the file cannot be written.
    """
    axes = {name: {0: "batch"} for name in ("input", "output")} if any_batch else None
    with tempfile.TemporaryDirectory() as folder, without_notes(), warnings.catch_warnings():
        # The exporter that knows PyTorch's quantized modules is the one that torch calls legacy.
        warnings.simplefilter("ignore")
        names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": axes}
        made = Path(folder) / path.name
        torch.onnx.export(network.eval(), (example,), made, dynamo=False, opset_version=_OPSET, **names)
        with atomic_write(path) as stream:
            stream.write(made.read_bytes())
    return path


def _settings(observer: str, engine: WholeEngine) -> ao.QConfig:
    default = ao.get_default_qconfig(engine)
    return default if observer == _DEFAULT else ao.QConfig(MODULE_OBSERVERS[observer], default.weight)


def _wrapped(module: nn.Module, fused: Sequence[Sequence[str]], settings: ao.QConfig) -> Any:
    parts = copy.deepcopy(module).eval()
    ao.fuse_modules(parts, [list(names) for names in fused], inplace=True)
    wrapped: Any = ao.QuantWrapper(parts)
    wrapped.qconfig = settings
    return wrapped
