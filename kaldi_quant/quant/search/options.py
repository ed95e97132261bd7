"""What a search is asked for: widths to choose from, and a budget; and the configuration that says what was chosen."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.presets import preset_for, read_preset
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import FLOAT_BITS, Bits

#: Why a layer that was allocated no integers is in float.
FLOAT_REASON = "the search left it in float"

#: How the cost of a width is found: by running the network with it, or from curvature.
Estimate = Literal["measured", "second-order"]

DEFAULT_WIDTHS: tuple[Bits, ...] = (2, 3, 4, 5, 6, 8)

#: bytes: of the artefact in the file system. bits: of a mean weight. nats: of the predicted divergence per frame, or
#: whatever the unit of the network's distance is. wer: percent by which the measured word error rate may be above the
#: float model's.
BudgetKind = Literal["bytes", "bits", "nats", "wer"]

_UNITS: dict[str, tuple[BudgetKind, float]] = {
    "byte": ("bytes", 1.0),
    "bytes": ("bytes", 1.0),
    "kb": ("bytes", 1e3),
    "mb": ("bytes", 1e6),
    "gb": ("bytes", 1e9),
    "kib": ("bytes", 2.0**10),
    "mib": ("bytes", 2.0**20),
    "gib": ("bytes", 2.0**30),
    "bit": ("bits", 1.0),
    "bits": ("bits", 1.0),
    "%wer": ("wer", 1.0),
}
_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?[A-Za-z]+(?: [A-Za-z]+)*)\s*")


@dataclass(frozen=True, order=True)
class Widths:
    """The width of a layer's weights, or FLOAT_BITS, and of its input."""

    bits: Bits
    act_bits: Bits


def parse_widths(text: str, option: str, with_float: bool = False, with_none: bool = False) -> tuple[Bits, ...]:
    """Widths from a list such as ``2,3,4,float``, sorted, each once.

    Args:
        text: the list.
        option: its name, for messages.
        with_float: whether ``float`` may be among them.
        with_none: whether 0 may stand alone, for inputs that stay in float.

    Raises:
        UsageError: it is no such list, or a width is impossible.
    """
    if with_none and text.strip() == "0":
        return (0,)
    found: set[Bits] = set()
    for word in text.split(","):
        word = word.strip()
        if with_float and word == "float":
            found.add(FLOAT_BITS)
        elif word.isdecimal():
            found.add(QSpec(int(word)).bits)
        else:
            more = ", and float" if with_float else ""
            raise UsageError(f"{option} {text}: expected widths from 2 to 16 with commas between{more}, found {word!r}")
    return tuple(sorted(found))


def in_widths(layer: LayerConfig, widths: Widths) -> LayerConfig:
    """A layer's configuration in other widths; whether zero points are fitted is as in the preset of these widths."""
    if widths.bits == FLOAT_BITS:
        return replace(layer, float_reason=FLOAT_REASON)
    symmetric = layer.symmetric if layer.weights_only else _is_symmetric(widths)
    return replace(layer, bits=widths.bits, act_bits=widths.act_bits, symmetric=symmetric)


@lru_cache
def _is_symmetric(widths: Widths) -> bool:
    return read_preset(preset_for(widths.bits, widths.act_bits)).default.symmetric


def with_widths(
    config: PtqConfig, kinds: Mapping[str, Collection[str]], widths: Mapping[str, Widths], description: str = ""
) -> PtqConfig:
    """A configuration that names every layer.

    Args:
        config: all but the widths.
        kinds: for each layer its kinds (``layer_kinds``).
        widths: of layers; those that ``config`` leaves in float stay there.
        description: what the result is for.
    """
    layers: dict[str, dict[str, Any]] = {}
    for name, layer in config.for_layers(kinds).items():
        chosen = in_widths(layer, widths[name]) if name in widths and not layer.float_reason else layer
        fields = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)}
        always = () if chosen.float_reason else ("bits", "act_bits")
        differs = {key: value for key, value in fields.items() if value != getattr(config.default, key)}
        layers[name] = {key: value for key, value in fields.items() if key in always or key in differs}
    return replace(config, layers=layers, description=description)


@dataclass(frozen=True)
class Budget:
    """What must not be exceeded.

    Args:
        kind: what is limited; with bytes and bits the divergence is minimised, with nats and wer the size.
        amount: in the unit that ``kind`` names.
        text: as it was written.
    """

    kind: BudgetKind
    amount: float
    text: str


def parse_budget(text: str, unit: str = "nats") -> Budget:
    """Reads a budget: a number and a unit. A kB is 1000 bytes, a KiB 1024.

    Args:
        text: as a person writes it.
        unit: of the network's distance.

    Raises:
        UsageError: it is of no such form, or not positive; of word error rates zero is allowed.

    Example:
        >>> parse_budget("800 kB")
        Budget(kind='bytes', amount=800000.0, text='800 kB')
    """
    found = _FORM.fullmatch(text)
    known = {**_UNITS, unit: ("nats", 1.0), unit.removesuffix("s"): ("nats", 1.0)}
    allowed = (
        "a size (300000 bytes, 800 kB, 1 MB), mean bits per weight (3.2 bits), a largest divergence "
        f"(0.05 {unit}) or by how much the word error rate may be above the float model's (0.2 %WER)"
    )
    if found is None or found[2].lower() not in known:
        raise UsageError(f"the budget {text!r} is not understood: give {allowed}")
    kind, factor = known[found[2].lower()]
    amount = float(found[1]) * factor
    if not 0 < amount < math.inf and not (kind == "wer" and amount == 0):
        raise UsageError(f"the budget {text!r} is not positive: give {allowed}")
    return Budget(kind, amount, text.strip())


@dataclass(frozen=True)
class SearchOptions:
    """What is searched.

    Args:
        widths: of weights, ascending; FLOAT_BITS for layers in float.
        act_widths: of layers' inputs, ascending; 0 alone where these stay in float.
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
