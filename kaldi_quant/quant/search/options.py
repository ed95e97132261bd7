"""What is searched, and how candidates are quantized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.search.budget import Budget
from kaldi_quant.quant.search.measurements import Estimate
from kaldi_quant.quant.search.widths import DEFAULT_WIDTHS, FLOAT_BITS, Widths
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import Bits


@dataclass(frozen=True)
class SearchOptions:
    """What is searched.

    Args:
        widths: of weights, ascending; FLOAT_BITS for layers in float.
        act_widths: of layers' inputs, ascending.
        base_bits: the weights' width of all layers but the one that is measured; inputs are in the widest there.
        estimate: how divergences are found.
        method: how weights are rounded while measuring; empty for the configuration's own.
        max_bit_operations: per frame, of all layers.

    Raises:
        UsageError: there is nothing to choose, or a value is impossible.
    """

    widths: tuple[Bits, ...] = DEFAULT_WIDTHS
    act_widths: tuple[Bits, ...] = (8,)
    base_bits: Bits = 8
    estimate: Estimate = "measured"
    method: str = ""
    max_bit_operations: float | None = None

    def __post_init__(self) -> None:
        QSpec(self.base_bits)
        if self.max_bit_operations is not None and not 0 < self.max_bit_operations < math.inf:
            raise UsageError(f"--max-bit-operations must be positive, found {self.max_bit_operations / 1e6:g}")
        if len(self.widths) < 2 and len(self.act_widths) < 2:
            raise UsageError(f"with only {listed(self.widths)} there is nothing to choose: give at least two widths")

    def check(self, budget: Budget) -> None:
        """Refuses a budget that no widths can meet, whatever the network.

        Raises:
            UsageError: it is below the least width.
        """
        check_least_width(budget, self.widths)

    @property
    def base(self) -> Widths:
        """The widths of all layers but those that are measured."""
        return Widths(self.base_bits, max(self.act_widths))

    def measuring(self, config: PtqConfig) -> PtqConfig:
        """How candidates are quantized: as the result, but each layer for itself, and by ``method``."""
        if not self.method:
            return replace(config, sequential=False)
        layers = {name: {**fields, "method": self.method} for name, fields in config.layers.items()}
        return replace(config, default=replace(config.default, method=self.method), layers=layers, sequential=False)


def listed(widths: Sequence[Bits]) -> str:
    """Widths in words.

    Example:
        >>> listed((2, 3, 4, 32))
        '2, 3 or 4 bits or float'
    """
    integers = [str(bits) for bits in widths if bits != FLOAT_BITS]
    words = [", ".join(integers[:-1]), *integers[-1:]] if len(integers) > 1 else integers
    choices = [f"{' or '.join(words)} bits"] if words else []
    return " or ".join([*choices, *(["float"] if FLOAT_BITS in widths else [])])


def check_least_width(budget: Budget, widths: Sequence[Bits]) -> None:
    """Refuses a budget of bits per weight that no choice of widths can meet.

    Args:
        budget: of any kind.
        widths: of weights, ascending.

    Raises:
        UsageError: it is below the least width.
    """
    if budget.kind == "bits" and budget.amount < widths[0]:
        raise UsageError(
            f"no allocation of {listed(widths)} meets the budget of {budget.text}: the least width is {widths[0]}"
        )
