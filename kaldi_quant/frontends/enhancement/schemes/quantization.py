"""A float network made into integers by a scheme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.api.quantization import Quantized, quantize
from kaldi_quant.frontends.enhancement.networks.known import Kind
from kaldi_quant.frontends.enhancement.schemes.registered import SCHEMES
from kaldi_quant.frontends.schemes import Scheme, trained_by
from kaldi_quant.torchnn.batches import LossFunction, Passes

#: Of outputs (N, T, bins) and (N, bins, T) the axis of bins.
BINS = {"frames-bins": -1, "bins-frames": 1}


def quantize_by(
    scheme: str | Scheme,
    kind: Kind,
    network: nn.Module,
    calibration: Sequence[Tensor],
    batches: Passes | Iterable[Any],
    loss: LossFunction,
    *,
    epochs: int,
    folder: Path | None = None,
    held_out: Iterable[Any] = (),
) -> Quantized:
    """Makes a network into integers.

    Args:
        scheme: one of ``SCHEMES`` or its name.
        kind: what stands around the network.
        network: in float; it is left as it is.
        calibration: what the network is called with, each for one call; never development or test data.
        batches: minibatches for schemes that train, (inputs, target) each.
        loss: of these, from output and target.
        epochs: passes over the minibatches.
        folder: of the training; an interrupted one goes on there.
        held_out: minibatches for validation.

    Returns:
        The network in integers; of layers that were to be quantized none is left in float.

    Raises:
        UsageError: there is no such scheme.
        DataError: inputs or minibatches cannot be used.
        ModelError: the network cannot be run.

    Example:
        >>> kind = NETWORKS["crn-100k"]
        >>> quantized = quantize_by("mbqat", kind, network, inputs, batches, loss, epochs=8)
        >>> kq.save(quantized, "mbqat.safetensors")
    """
    chosen = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    origin = TorchNetwork(network, columns=BINS[kind.around.layout])
    found = quantize(origin, chosen.config, calibration=calibration)
    return trained_by(chosen, found, batches, loss, epochs=epochs, folder=folder, held_out=held_out)
