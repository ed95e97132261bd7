"""How a quantized network is executed: on integer kernels where they are right, else by the reference."""

from __future__ import annotations

import logging
from typing import Literal, get_args

from kaldi_quant.errors import MissingDependencyError, ModelError
from kaldi_quant.nnet3.execution.network import OnnxruntimeNetwork
from kaldi_quant.nnet3.execution.self_test import trusted_form
from kaldi_quant.nnet3.model import AcousticModel, acoustic_model
from kaldi_quant.nnet3.onnx_graph.builder import GraphOptions, build_graph
from kaldi_quant.quant.network import QuantizedNetwork

#: ``auto`` is onnxruntime where it gives the reference's integers, and the reference where it does not.
Execution = Literal["auto", "onnxruntime", "reference"]
EXECUTIONS: tuple[Execution, ...] = get_args(Execution)

_log = logging.getLogger(__name__)


def executable(
    network: QuantizedNetwork, period: int, execution: Execution = "auto"
) -> OnnxruntimeNetwork | AcousticModel:
    """A quantized network ready to run, in either way with the same result.

    Args:
        network: the quantized network.
        period: frames between outputs: the frame subsampling factor.
        execution: which way; ``auto`` says in one line why it is not the fast one.

    Raises:
        ModelError: ``onnxruntime`` cannot run the network, or gives wrong integers on this machine.
        MissingDependencyError: ``onnxruntime`` was asked for and is not installed.
    """
    if execution == "reference":
        return acoustic_model(network.model())
    if in_float := network.multiplying_floats:
        reason = (
            f"weights alone, or groups of columns with scales of their own, are quantized in {', '.join(in_float)}: "
            "such layers run in the reference"
        )
        if execution == "onnxruntime":
            raise ModelError(reason)
        _log.info("%s", reason)
        return acoustic_model(network.model())
    try:
        form = trusted_form()
        if form is None:
            raise ModelError("onnxruntime's integer kernels give wrong integers on this processor")
        fast = OnnxruntimeNetwork(network, period, form)
        if slow := _convolutions(network):
            _log.info("%s", slow)
        return fast
    except (ModelError, MissingDependencyError) as error:
        if execution == "onnxruntime":
            raise
        _log.warning("using the slow reference implementation for the quantized network: %s", error)
        return acoustic_model(network.model())


def slower_than_float(network: QuantizedNetwork, period: int) -> str:
    """What there is to say of a quantized network that runs slower than the float one; empty for others.

    Args:
        network: the quantized network.
        period: frames between outputs.
    """
    if network.multiplying_floats:
        return ""
    try:
        build_graph(network, GraphOptions(period))
    except ModelError as error:
        return (
            "in integers the network runs several times slower than in float, because the reference alone can run it: "
            f"{error}"
        )
    except MissingDependencyError:
        return ""
    return _convolutions(network)


def _convolutions(network: QuantizedNetwork) -> str:
    names = [name for name in network.layers if network.host.nodes[name].is_convolution]
    return f"convolutions take about twice as long in integers as in float: {', '.join(names)}" if names else ""
