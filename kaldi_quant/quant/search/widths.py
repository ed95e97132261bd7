"""What can be chosen for a layer, and the configuration that says what was."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import LayerConfig, PtqConfig
from kaldi_quant.quant.presets import preset_for, read_preset
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.units import Bits

#: The width that stands for a layer in float, as in the mean width of a weight.
FLOAT_BITS: Bits = 32

#: Why a layer that was allocated no integers is in float.
FLOAT_REASON = "the search left it in float"

DEFAULT_WIDTHS: tuple[Bits, ...] = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, order=True)
class Widths:
    """The width of a layer's weights, or FLOAT_BITS, and of its input."""

    bits: Bits
    act_bits: Bits


def parse_widths(text: str, option: str, with_float: bool = False) -> tuple[Bits, ...]:
    """Widths from a list such as ``2,3,4,float``, sorted, each once.

    Args:
        text: the list.
        option: its name, for messages.
        with_float: whether ``float`` may be among them.

    Raises:
        UsageError: it is no such list, or a width is impossible.
    """
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
    return replace(layer, bits=widths.bits, act_bits=widths.act_bits, symmetric=_is_symmetric(widths))


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
