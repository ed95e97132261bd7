"""What a scheme of quantization consists of, and how a quantized network is trained by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from kaldi_quant.api.quantization import Quantized, quantize_further
from kaldi_quant.api.training import qat
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.torchnn.batches import LossFunction, Passes
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.qat.options import DEFAULT_OFFSETS
from kaldi_quant.train.qat.trained_weight import DEFAULT_WEIGHTS

#: The products of recurrent cells, as configurations name them.
CELLS = "@cell"
#: The folder of the second training, within that of the first.
SETTLING = "settling"
#: Ranges of the inputs of recurrent cells' products.
RANGES = ("static", "dynamic")


@dataclass(frozen=True)
class SchemeTraining:
    """How a scheme trains; arguments of ``kaldi_quant.qat``.

    Args:
        method: what becomes of scales.
        weights: what is learned of weights.
        offsets: what is learned of zero points.
        lr_initial: the learning rate of the first pass.
        lr_final: that of the last one.
        amsgrad: the variant of Adam.
    """

    method: str = "lsq"
    weights: str = DEFAULT_WEIGHTS
    offsets: str = DEFAULT_OFFSETS
    lr_initial: float = 1e-3
    lr_final: float = 1e-4
    amsgrad: bool = False


@dataclass(frozen=True)
class Scheme:
    """A scheme of quantization.

    Args:
        config: quantization after training, where training begins.
        training: from there on; None for none.
        settling: the second half of the passes, from where the first one ends; None for one training with all of them.
            After offsets that were floats, weights settle at the integer zero points that these have become.
        afterwards: rules for layers that were in float in training, as of ``kaldi_quant.quantize_further``.
        description: in a sentence.
    """

    config: PtqConfig
    training: SchemeTraining | None = None
    settling: SchemeTraining | None = field(default=None, kw_only=True)
    afterwards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    description: str = ""

    def with_cells(self, **fields: Any) -> Self:
        """The scheme with other fields of ``LayerConfig`` for the products of recurrent cells.

        Raises:
            UsageError: there is no such kind of ranges.
        """
        one_of("ranges", fields.get("ranges", RANGES[0]), RANGES)
        if CELLS in self.afterwards:
            return replace(self, afterwards={**self.afterwards, CELLS: {**self.afterwards[CELLS], **fields}})
        rules = {**self.config.layers, CELLS: {**self.config.layers.get(CELLS, {}), **fields}}
        return replace(self, config=replace(self.config, layers=rules))


def trained_by(
    scheme: Scheme,
    quantized: Quantized,
    batches: Passes | Iterable[Any],
    loss: LossFunction,
    *,
    epochs: int,
    folder: Path | None = None,
    held_out: Iterable[Any] = (),
    early_stopping: int = 0,
) -> Quantized:
    """What a scheme does after quantization: training, if it has any, and rules for layers left in float until then.

    Args:
        scheme: the scheme.
        quantized: by its ``config``.
        batches: minibatches for schemes that train, (inputs, target) each.
        loss: of these, from output and target.
        epochs: passes over the minibatches.
        folder: of the training; an interrupted one goes on there.
        held_out: minibatches for validation.
        early_stopping: as of ``kaldi_quant.qat``.

    Raises:
        DataError: minibatches cannot be used.
    """
    found = quantized
    settling = epochs // 2 if scheme.settling is not None else 0
    parts = [(scheme.training, epochs - settling, folder)]
    if settling:
        parts.append((scheme.settling, settling, None if folder is None else folder / SETTLING))
    for training, passes, place in parts:
        if training is not None:
            found = qat(
                found,
                batches,
                loss=loss,
                epochs=passes,
                held_out=held_out,
                lr_initial=training.lr_initial,
                lr_final=training.lr_final,
                optimizer=OptimizerOptions(max_param_change=0.0, amsgrad=training.amsgrad),
                early_stopping=early_stopping,
                method=training.method,
                weights=training.weights,
                offsets=training.offsets,
                folder=place,
            )
    rules = {pattern: rule for pattern, rule in scheme.afterwards.items() if found.float_layers}
    return quantize_further(found, rules) if rules else found
