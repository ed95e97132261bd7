"""A float network that separates made into integers by a scheme."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.api.quantization import Quantized, quantize
from kaldi_quant.frontends.schemes import trained_by
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.schemes.scheme import SCHEMES, SeparationScheme
from kaldi_quant.frontends.separation.schemes.taught import Taught
from kaldi_quant.torchnn.batches import LossFunction, Passes

_log = logging.getLogger(__name__)


def quantize_by(
    scheme: str | SeparationScheme,
    kind: Kind,
    network: nn.Module,
    calibration: Sequence[Tensor],
    batches: Passes | Iterable[Any] = (),
    loss: LossFunction | None = None,
    *,
    epochs: int = 0,
    folder: Path | None = None,
    held_out: Iterable[Any] = (),
    early_stopping: int = 0,
) -> Quantized:
    """Makes a network into integers.

    Args:
        scheme: one of ``SCHEMES`` or its name.
        kind: of the network.
        network: in float, (N, C, T) to (N, S, C, T); it is left as it is, and teaches where the scheme distils.
        calibration: mixtures, (N, C, T) each; never development or test data.
        batches: minibatches for schemes that train, (mixture, sources) each.
        loss: of these; by default the scheme's. Where the scheme distils its target is (sources, float estimates).
        epochs: passes over the minibatches; 0 for none: what quantization after training gives.
        folder: of the training; an interrupted one goes on there.
        held_out: minibatches of development data; those schemes that keep the better need them.
        early_stopping: training ends after so many passes that are no better for these, and the best one is taken; 0
            for never.

    Returns:
        The network in integers; no layer and no product of two values is left in float.

    Raises:
        UsageError: there is no such scheme.
        DataError: mixtures or minibatches cannot be used.
        ModelError: the network cannot be run, or is of another kind.

    Example:
        >>> kind = NETWORKS["conv-tasnet-small"]
        >>> quantized = quantize_by("fqss", kind, network, mixtures, batches, epochs=8)
        >>> kq.save(quantized, "fqss.safetensors")
    """
    chosen = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    if not epochs:
        chosen = chosen.untrained()
    changed = chosen.ends_of(kind, network, calibration)
    found = quantize(changed, chosen.config_for(kind), calibration=calibration)
    if chosen.training is not None and chosen.teaching(kind) is not None:
        taught = Taught(batches, network)
        batches, held_out = taught, taught.held_out(held_out)
    loss, held_out = loss or chosen.loss_of(kind), list(held_out)
    trained = trained_by(
        chosen,
        found,
        batches,
        loss,
        epochs=epochs,
        folder=folder,
        held_out=held_out,
        early_stopping=early_stopping,
    )
    if chosen.training is None or not chosen.keeps_the_better or not held_out:
        return trained
    losses = [_mean_loss(each, held_out, loss) for each in (found, trained)]
    _log.info("held-out loss after quantization alone %.5f, trained %.5f", *losses)
    notes = {"held-out loss, quantized": losses[0], "held-out loss, trained": losses[1]}
    best = found if losses[0] <= losses[1] else trained
    return replace(best, notes={**best.notes, **notes})


@torch.no_grad()
def _mean_loss(quantized: Quantized, held_out: Sequence[Any], loss: LossFunction) -> float:
    """Of the integers, as the reference computes them."""
    network = quantized.network.model()
    return sum(float(loss(network(mixture), target)) for mixture, target in held_out) / len(held_out)
