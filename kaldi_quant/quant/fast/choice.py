"""How a quantized network is executed: on integer kernels where they are right, else by the reference."""

from __future__ import annotations

import logging
from typing import Literal, get_args

from kaldi_quant.errors import MissingDependencyError, ModelError
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.quant.fast.network import FastNetwork
from kaldi_quant.quant.fast.self_test import trusted_form
from kaldi_quant.quant.network import QuantizedNetwork

#: ``auto`` is onnxruntime where it gives the reference's integers, and the reference where it does not.
Execution = Literal["auto", "onnxruntime", "reference"]
EXECUTIONS: tuple[Execution, ...] = get_args(Execution)

_log = logging.getLogger(__name__)


def executable(
    network: QuantizedNetwork, period: int = 1, execution: Execution = "auto"
) -> FastNetwork | AcousticModel:
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
        return network.model()
    try:
        form = trusted_form()
        if form is None:
            raise ModelError("onnxruntime's integer kernels give wrong integers on this processor")
        return FastNetwork(network, period, form)
    except (ModelError, MissingDependencyError) as error:
        if execution == "onnxruntime":
            raise
        _log.warning("using the slow reference implementation for the quantized network: %s", error)
        return network.model()
