"""Which form of weights this machine's integer kernels multiply without error: tried out once per process.

Processors without products of 8-bit integers (VNNI) add two of them in saturating 16-bit registers; then onnxruntime's
kernels for signed weights give wrong sums, and those for unsigned ones, which widen first, right but slower ones.
"""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import torch

from kaldi_quant.backends.onnx.parameters import WeightForm
from kaldi_quant.backends.probe import extreme_features
from kaldi_quant.nnet3.execution.network import OnnxruntimeNetwork
from kaldi_quant.nnet3.execution.probe import random_network

_log = logging.getLogger(__name__)

# (input, hidden, output) columns: some that fill the kernels' registers, and some that do not; bits of the features.
_NETWORKS = (((64, 128, 64), 8), ((13, 36, 7), 12), ((40, 65, 130), 8))
_ROWS = (1, 50)
_PERIOD = 3


@cache
def trusted_form() -> WeightForm | None:
    """The fastest form whose results equal the reference's; None where none does. Says so where it is not the fastest.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
    """
    if gives_the_reference("signed"):
        return "signed"
    if gives_the_reference("exact"):
        _log.warning(
            "this processor's 8-bit products saturate (it has no VNNI): layers whose weights need all 8 bits run on "
            "slower kernels; those of at most 7 bits do not"
        )
        return "exact"
    return None


def gives_the_reference(form: WeightForm) -> bool:
    """Whether random networks give exactly the reference's results on this machine."""
    random = np.random.default_rng(0)
    for dims, bits in _NETWORKS:
        network = random_network(random, *dims, bits)
        fast = OnnxruntimeNetwork(network, _PERIOD, form)
        for rows in _ROWS:
            times = np.arange(rows) * _PERIOD
            span = (-fast.context.left, int(times[-1]) + fast.context.right + 1)
            feats = extreme_features(random, network.activations["input"], (2, span[1] - span[0], dims[0]))
            with torch.inference_mode():
                same = torch.equal(fast(feats, [span] * 2, times), fast.reference(feats, [span] * 2, times))
            if not same:
                return False
    return True
