"""Widths learned with the weights under a penalty on the size, and the allocation that comes of them.

Source: B. Wu et al., "Mixed precision quantization of ConvNets via differentiable neural architecture search", 2018.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.search.allocation import Option, Problem, allocate
from kaldi_quant.quant.search.options import DEFAULT_WIDTHS, Budget, Widths, check_least_width, with_widths
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.train.loop import Loop, LoopOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.mixed_widths import MixedNetwork, WidthShares
from kaldi_quant.train.qat.size_penalty import PenalizedSource, SizePenalty
from kaldi_quant.train.qat.training import Digested, start_digest
from kaldi_quant.train.schedules import Schedule
from kaldi_quant.train.steps import Source
from kaldi_quant.units import Bits

FOLDER_NAME, RECORD_NAME = "widths", "learned_widths.json"
_FORMAT = 1

_log = logging.getLogger(__name__)

# The learning rate of logits at the beginning: a few hundred steps of Adam move them by some units.
_LOGITS_RATE = 0.1


@dataclass(frozen=True)
class WidthOptions:
    """What is learned.

    Args:
        budget: of bits per weight.
        widths: of weights, ascending.

    Raises:
        UsageError: the budget is of another kind, or there is nothing to choose.
    """

    budget: Budget
    widths: tuple[Bits, ...] = DEFAULT_WIDTHS

    def __post_init__(self) -> None:
        if self.budget.kind != "bits":
            raise UsageError(f"--learn-widths {self.budget.text!r}: the budget must be mean bits per weight (3.2 bits)")
        for bits in self.widths:
            QSpec(bits)
        if len(self.widths) < 2:
            raise UsageError(f"with only {self.widths[0]} bits there is nothing to choose: give at least two widths")
        check_least_width(self.budget, self.widths)


@dataclass(frozen=True)
class LearnedWidths:
    """What was learned.

    Args:
        config: the configuration with the widths.
        record: the content of learned_widths.json.
    """

    config: PtqConfig
    record: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Writes learned_widths.json."""
        with atomic_write(folder / RECORD_NAME, "w") as stream:
            stream.write(json.dumps(self.record, indent=1) + "\n")


def learn_widths(
    mixed: MixedNetwork,
    model: Digested,
    source: Source,
    options: WidthOptions,
    config: PtqConfig,
    loop: LoopOptions,
    folder: Path,
    identity: dict[str, Any],
    stop_after: int | None = None,
    place: DeviceContext | None = None,
) -> LearnedWidths | None:
    """Trains the shares of widths beside the weights, and allocates.

    Args:
        mixed: is changed; made for the same options.
        model: the float model that it was made from.
        source: the minibatches and the loss.
        options: what is learned.
        config: all but the widths, for the result.
        loop: how training goes otherwise; nothing is averaged, and it goes to the end.
        folder: of the checkpoint and the record of training.
        identity: what else the result depends on.
        stop_after: ends after so many iterations, as if killed.
        place: where it is computed, and by which processes; the same that ``source`` has.

    Returns:
        what was learned; None where it was stopped.

    Raises:
        UsageError: the optimizer is not Adam, the learning rate follows held-out scores, or a checkpoint is of other
            options.
    """
    if loop.optimizer.name != "adam":
        raise UsageError(f"--optimizer {loop.optimizer.name}: widths can only be learned with adam")
    check_schedule(loop.schedule)
    place = place or DeviceContext()
    identity = {
        "model": model.digest(),
        "start": start_digest(mixed.network.start),
        "config": config.as_dict(),
        "learned widths": asdict(options),
        **identity,
        **place.identity,
    }
    # Kaldi's limit is one for weights in float, not for their places on grids, nor for logits.
    optimizer = replace(loop.optimizer, max_param_change=0.0)
    loop = replace(loop, optimizer=optimizer, average_last=1, freeze_after=1.0, early_stopping=0)
    mixed.to(place.device)
    penalty = SizePenalty(mixed.shares)
    logits = {"logits": mixed.shares.logits}
    shares = TrainedComponent("widths", logits, _LOGITS_RATE / loop.schedule.initial, decays=False)
    parts = [*mixed.components(), shares]
    training = Loop(
        mixed.network.model,
        parts,
        PenalizedSource(source, penalty),
        loop,
        folder,
        identity,
        group=place.group,
        observers=penalty,
    )
    if not training.run(stop_after) and stop_after is not None:
        return None
    return _learned(mixed, options, config, [entry.train["bits"] for entry in training.iterations[1:]])


def check_schedule(schedule: Schedule) -> None:
    """Refuses learning rates that would fall for the wrong reason.

    Raises:
        UsageError: they follow held-out scores.
    """
    if schedule.needs_scores:
        raise UsageError(
            f"--lr-schedule {schedule.name} cannot be combined with --learn-widths, which lowers the held-out score by "
            "taking bits away"
        )


def allocated(shares: WidthShares) -> dict[str, Bits]:
    """The widths that are expected to cost least within the mean, by an integer linear program.

    Where training ends, the loss falls by the same amount, the price, for a bit more of any weight: at the width that a
    layer has learned its slope is in proportion to the layer's weights. With every bit the squared error of rounding,
    and with it the loss, is divided by four. So a layer for which width j is right costs in width k, but for a factor
    that all layers share, its weights times 4^(j - k); the shares say how likely each j is.

    Args:
        shares: as learned.
    """
    layers = {}
    for (name, weights), row in zip(shares.weights.items(), shares().tolist(), strict=True):
        right = list(zip(shares.widths, row, strict=True))
        costs = {bits: weights * sum(share * 4.0 ** (other - bits) for other, share in right) for bits in shares.widths}
        layers[name] = [Option(bits, 0, 0, weights * bits, cost) for bits, cost in costs.items()]
    limit = shares.mean * sum(shares.weights.values())
    found = allocate(Problem(layers, []), "divergence", {"weight_bits": limit})
    assert found is not None, "the mean is not below the least width"
    return {name: option.bits for name, option in found.layers.items()}


def _learned(mixed: MixedNetwork, options: WidthOptions, config: PtqConfig, expected: list[float]) -> LearnedWidths:
    shares = mixed.shares
    chosen = allocated(shares)
    mean = sum(shares.weights[name] * bits for name, bits in chosen.items()) / sum(shares.weights.values())
    learned = dict(zip(shares.weights, shares().tolist(), strict=True))
    record = {
        "format": _FORMAT,
        "budget": asdict(options.budget),
        "widths": list(options.widths),
        "expected_bits": [mixed.with_float(bits) for bits in [*expected, float(shares.mean_bits().detach())]],
        "bits_per_weight": mixed.with_float(mean),
        "layers": [
            {
                "name": name,
                "parameters": shares.weights[name],
                "shares": {str(bits): p for bits, p in zip(shares.widths, learned[name], strict=True)},
                "bits": bits,
            }
            for name, bits in chosen.items()
        ],
        "float_layers": mixed.network.start.float_layers,
    }
    description = f"{record['bits_per_weight']:.2f} bits per weight, learned under {options.budget.text}."
    widths = {name: Widths(bits, mixed.act_bits[name]) for name, bits in chosen.items()}
    _log.info("learned widths: %s", ", ".join(f"{name} {bits}" for name, bits in chosen.items()))
    return LearnedWidths(with_widths(config, mixed.kinds, widths, description), record)
