"""Quantized networks: made, run, compared with float."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.api.folders import folder_or_none
from kaldi_quant.api.networks import FloatNetwork, TorchNetwork, as_network
from kaldi_quant.errors import MissingDependencyError, UsageError
from kaldi_quant.quant import further_layers, ptq
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import Divergence, divergence, output_divergence
from kaldi_quant.quant.further_layers import further_config
from kaldi_quant.quant.host import Data
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.quant.sensitivity import Measurement
from kaldi_quant.quant.sensitivity import sensitivity as measured_sensitivity
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.torchnn.another_call import called_otherwise
from kaldi_quant.torchnn.host import TorchSource
from kaldi_quant.torchnn.part import part_of as part_of_network
from kaldi_quant.units import Bytes


@dataclass(frozen=True)
class Quantized:
    """A network in integers.

    Args:
        network: its integers, grids, and what stays in float.
        origin: the float network that it was made from; of one that was read from a file only how it is run.
        config: how.
        calibration: the data that it was calibrated on; None of one that was read from a file.
        preset: the name of the configuration, if it has one.
        record: of one that was read from a file, how it was made.
        notes: of one that was not, what its record tells beside that, as JSON has it.
    """

    network: QuantizedNetwork
    origin: FloatNetwork
    config: PtqConfig
    calibration: Data | None
    preset: str | None = None
    record: dict[str, Any] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def outputs(self, inputs: Any) -> Iterator[tuple[str, np.ndarray]]:
        """What the integer reference gives for inputs: their names and (rows, columns) float32.

        Inputs that it cannot compute are left out, with a warning.
        """
        return self.origin.data(inputs).outputs(self.network.model())

    def calibrated(self, what: str) -> Data:
        """The data that it was calibrated on, beside which it has its float weights.

        Raises:
            UsageError: it was read from a file, which has neither; what: needs them.
        """
        if self.calibration is None:
            raise UsageError(f"{what} needs a network as quantize() gives it: a file has no float weights")
        return self.calibration

    @property
    def float_layers(self) -> dict[str, str]:
        """The layers that stay in float, each with the reason."""
        return dict(self.network.float_layers)

    @property
    def weights_only(self) -> list[str]:
        """The layers whose weights alone are quantized: they compute in float."""
        return self.network.weights_only

    @property
    def float_matmuls(self) -> dict[str, str]:
        """The products of two values that both depend on the input which stay in float, each with the reason."""
        return dict(self.network.float_matmuls)


def quantize(network: Any, config: str | PtqConfig = "w8a8", *, calibration: Any, memory: Bytes = MEMORY) -> Quantized:
    """Quantizes a network after training.

    Args:
        network: a model from ``load``, a ``torch.nn.Module``, or one of these as ``KaldiNetwork`` or ``TorchNetwork``.
        config: a preset's name, or a configuration.
        calibration: inputs to calibrate on, as the network's ``data`` takes them; never test data.
        memory: what their values may take that later layers read; the others wait on disk.

    Raises:
        UsageError: there is no such preset, or the configuration does not fit the network.
        DataError: the inputs cannot be used.
        ModelError: the network cannot be run, or has no layer that can be quantized.

    Example:
        >>> quantized = quantize(load("exp/chain/tdnn/final.mdl"), "w4a8", calibration="scp:data/train/feats.scp")
    """
    chosen = read_preset(config) if isinstance(config, str) else config
    if chosen.backend != "kaldi_quant":
        raise UsageError("the presets torch-* are for the command line: choose another one")
    origin = as_network(network)
    data = origin.data(calibration)
    result = ptq.quantize(origin.source(data), chosen, data, memory=memory)
    return Quantized(result, origin, chosen, data, config if isinstance(config, str) else None)


def quantize_further(
    quantized: Quantized, layers: Mapping[str, Mapping[str, Any]], *, calibration: Any = None
) -> Quantized:
    """Quantizes layers that a network has in float; all others stay as they are.

    For layers that were in float while the others were trained: they have the weights that were trained.

    Args:
        quantized: from ``quantize`` or ``qat``.
        layers: rules as those of a ``PtqConfig``, by name or kind: of the layers in float those that match are
            quantized. Ranges must be dynamic, or ``act_bits`` 0: static ones would change grids that others learned.
        calibration: inputs; by default those that the network was calibrated on.

    Raises:
        UsageError: a layer would have static ranges, no layer is left in float that the rules are for, or the network
            was read from a file.
        DataError: the inputs cannot be used.

    Example:
        >>> quantized = quantize(network, PtqConfig(layers={"@cell": {"float_reason": "while others learn"}}), ...)
        >>> trained = qat(quantized, batches, loss=loss)
        >>> whole = quantize_further(trained, {"@cell": {"ranges": "dynamic"}})
    """
    before = quantized.calibrated("quantize_further")
    data = before if calibration is None else quantized.origin.data(calibration)
    config = further_config(quantized.config, layers)
    network = further_layers.quantize_further(quantized.network, config, data)
    return replace(quantized, network=network, config=config, preset=None)


def compile(quantized: Quantized) -> Callable[..., Any]:
    """A quantized network of ``torch.nn`` on this processor's integer kernels: called as the network, same results.

    Fully connected layers, recurrences and convolutions run on compiled kernels (numba), on one thread, and so do group
    norms, sums and products between their grids; what has no kernel runs as in the integer reference. Convolutions need
    a processor with products of 8-bit integers (VNNI).

    Args:
        quantized: from ``quantize``, ``qat`` or ``load``.

    Raises:
        UsageError: it is a Kaldi model.
        MissingDependencyError: numba is not installed.

    Example:
        >>> run = kq.compile(quantized)
        >>> gains, state = run(frame, state)
    """
    if not isinstance(quantized.origin, TorchNetwork):
        raise UsageError("compile is for networks of torch.nn: Kaldi models run on onnxruntime (kaldi-quant forward)")
    try:
        from kaldi_quant.torchnn.execution.network import CompiledNetwork
    except ImportError as error:
        raise MissingDependencyError("compiled kernels need numba: pip install numba") from error
    return CompiledNetwork(quantized.network)


def called_with(quantized: Quantized, network: Any, inputs: Any) -> Quantized:
    """The same integers for a network that is called in another way, as a stream is, with the states before it.

    Args:
        quantized: a network of ``torch.nn``, from ``quantize``, ``qat`` or ``load``.
        network: the float network as it is called then (``TorchNetwork`` tells its output); its code counts, while all
            weights are those of the quantized one.
        inputs: an example of the other call.

    Raises:
        UsageError: it is a Kaldi model.
        ModelError: the network is another one, or cannot be called so.

    Example:
        >>> stream = called_with(quantized, TorchNetwork(network, output=0), (frame, network.states()))
    """
    origin, source = _of_torch("called_with", quantized, network, inputs)
    return Quantized(called_otherwise(quantized.network, source), origin, quantized.config, None, quantized.preset)


def part_of(quantized: Quantized, part: Any, inputs: Any) -> Quantized:
    """The same integers for a part of a network by itself, such as what lies between transforms that stay in float.

    Args:
        quantized: a network of ``torch.nn``, from ``quantize``, ``qat`` or ``load``.
        part: in float (``TorchNetwork`` tells its output), with modules at the same paths as in the whole; its code
            counts, while all weights are those of the quantized one.
        inputs: what the part is called with; each input takes the place of one value of the whole.

    Raises:
        UsageError: it is a Kaldi model.
        ModelError: it is no part of the network.

    Example:
        >>> core = part_of(quantized, TorchNetwork(network.core(), output=0), (spectrum, wave))
        >>> export(core, "core.onnx")
    """
    origin, source = _of_torch("part_of", quantized, part, inputs)
    return Quantized(part_of_network(quantized.network, source), origin, quantized.config, None, quantized.preset)


def _of_torch(what: str, quantized: Quantized, network: Any, inputs: Any) -> tuple[TorchNetwork, TorchSource]:
    """A float network of torch beside a quantized one, and the same traced."""
    origin = as_network(network)
    if not isinstance(quantized.origin, TorchNetwork) or not isinstance(origin, TorchNetwork):
        raise UsageError(f"{what} is for networks of torch.nn")
    return origin, origin.source(origin.data([inputs]))


def compare(quantized: Quantized, inputs: Any, network: Any = None) -> Divergence:
    """How far a quantized network is from the float one, at its output and layer by layer.

    Args:
        quantized: from ``quantize``, ``qat`` or ``load``.
        inputs: as the network's ``data`` takes them.
        network: the float network, of a quantized one from ``load``, which has no float weights; then only outputs are
            compared.

    Raises:
        UsageError: the float network is needed, or not.
        DataError: no input can be used.
    """
    data = quantized.origin.data(inputs)
    if quantized.calibration is not None:
        if network is not None:
            raise UsageError("compare: the quantized network has its float weights, and needs no float network")
        return divergence(quantized.network, data)
    if network is None:
        raise UsageError("compare: a file has no float weights: give the float network, too, as network=")
    source = as_network(network).source(data)
    return output_divergence(source.prepare(fold=False).complete(), quantized.network, data)


def sensitivity(
    quantized: Quantized, inputs: Any, folder: str | Path | None = None, memory: Bytes = MEMORY
) -> list[Measurement]:
    """What each layer costs: quantized alone, and left in float alone.

    Args:
        quantized: with all layers quantized.
        inputs: held-out ones, as the network's ``data`` takes them; never test data if choices follow from the result.
        folder: where measurements are kept, so that an interrupted run goes on; by default nowhere.
        memory: what values may take that wait for layers; the others wait on disk.

    Raises:
        DataError: no input can be used, or the folder holds something else.
    """
    data = quantized.origin.data(inputs)
    calibration = quantized.calibrated("sensitivity")
    about = {
        "network": quantized.network.host.digest(),
        "configuration": quantized.config.as_dict(),
        "calibration set": calibration.digest(),
        "held-out set": data.digest(),
    }
    with folder_or_none(folder) as place:
        return list(measured_sensitivity(quantized.network, data, place / "sensitivity.json", about, memory=memory))
