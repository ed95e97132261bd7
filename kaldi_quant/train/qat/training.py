"""Quantization-aware training from a quantized network, by LF-MMI, distillation, or both."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.model import Model
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.train.finetune import digest
from kaldi_quant.train.loop import Loop, LoopOptions, Source
from kaldi_quant.train.qat.network import TrainableNetwork

#: lsq: scales and zero points are learned; fixed: they stay as calibration found them.
METHODS = ("lsq", "fixed")


@dataclass(frozen=True)
class QatOptions:
    """Quantization-aware training.

    Args:
        method: what becomes of scales, one of ``METHODS``.
        freeze_after: the share of training after which scales stay as they are.
    """

    method: str = "lsq"
    freeze_after: float = 0.8

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method!r} is none of {', '.join(METHODS)}")
        if not 0 <= self.freeze_after <= 1:
            raise UsageError(f"--freeze-after {self.freeze_after:g}: expected a share from 0 to 1")


def train_quantized(
    network: TrainableNetwork,
    model: Model,
    source: Source,
    options: QatOptions,
    loop: LoopOptions,
    folder: Path,
    identity: dict[str, Any],
    stop_after: int | None = None,
) -> QuantizedNetwork | None:
    """Trains a quantized network.

    Args:
        network: is changed.
        model: the float model that it was made from.
        source: the minibatches and the loss.
        options: what becomes of scales; ``network`` was made for the same method.
        loop: how training goes otherwise.
        folder: of the checkpoint and the record.
        identity: what else the result depends on.
        stop_after: ends after so many iterations, as if killed.

    Returns:
        the network in integers; None where it was stopped.
    """
    start = start_digest(network.start)
    identity = {"model": digest(model), "start": start, "qat": asdict(options), **identity}
    # Kaldi's limit is one for weights in float, not for their places on grids.
    loop = replace(loop, optimizer=replace(loop.optimizer, max_param_change=0.0), freeze_after=options.freeze_after)
    trained = Loop(network.model, network.components(), source, loop, folder, identity, network.scales())
    if not trained.run(stop_after) and stop_after is not None:
        return None
    return network.converted()


def start_digest(network: QuantizedNetwork) -> str:
    """What tells the network that training begins with from others."""
    found = hashlib.sha256()
    for name, layer in network.layers.items():
        found.update(name.encode() + layer.weight.integers.numpy().tobytes() + layer.weight.scale.numpy().tobytes())
    for name, grid in network.activations.items():
        found.update(name.encode() + grid.scale.numpy().tobytes() + grid.zero_point.numpy().tobytes())
    return found.hexdigest()
