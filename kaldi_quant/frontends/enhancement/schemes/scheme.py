"""What a scheme of quantization consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.registry import Registry
from kaldi_quant.train.qat.options import DEFAULT_OFFSETS
from kaldi_quant.train.qat.trained_weight import DEFAULT_WEIGHTS

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
        afterwards: rules for layers that were in float in training, as of ``kaldi_quant.quantize_further``.
        description: in a sentence.
    """

    config: PtqConfig
    training: SchemeTraining | None = None
    afterwards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    description: str = ""

    def with_cells(self, **fields: Any) -> Scheme:
        """The scheme with other fields of ``LayerConfig`` for the products of recurrent cells.

        Raises:
            UsageError: there is no such kind of ranges.
        """
        one_of("ranges", fields.get("ranges", RANGES[0]), RANGES)
        if CELLS in self.afterwards:
            return replace(self, afterwards={**self.afterwards, CELLS: {**self.afterwards[CELLS], **fields}})
        rules = {**self.config.layers, CELLS: {**self.config.layers.get(CELLS, {}), **fields}}
        return replace(self, config=replace(self.config, layers=rules))


#: The products of recurrent cells, as configurations name them.
CELLS = "@cell"
#: By name (``known``).
SCHEMES: Registry[Scheme] = Registry("scheme of quantization")
for _name in ("standard-qat", "general-qat", "mbqat", "mbqat-tcn", "ours-w8a8", "ours-w4a8"):
    SCHEMES.declare(_name, "kaldi_quant.frontends.enhancement.schemes.known")
