"""Options of the search for widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from kaldi_quant.cli.options import grouped_options
from kaldi_quant.errors import UsageError

if TYPE_CHECKING:
    from kaldi_quant.quant.config import PtqConfig
    from kaldi_quant.quant.search.options import SearchOptions

# The method that the search's result is quantized by, whatever the widths: it was tuned for those in their middle.
_PRESET = "w4a8"

_OPTIONS = (
    click.option(
        "--widths",
        default="2,3,4,5,6,8",
        show_default=True,
        help="Bits per weight to choose from; 'float' allows layers in float.",
    ),
    click.option(
        "--act-widths", default="8", show_default=True, help="Bits per activation to choose from; 0: weights alone."
    ),
    click.option(
        "--base-bits",
        type=int,
        default=8,
        show_default=True,
        help="Width of the other layers while one layer is measured.",
    ),
    click.option(
        "--estimate",
        type=click.Choice(("measured", "second-order")),
        default="measured",
        show_default=True,
        help="measured: run the network for each candidate; second-order: estimate its cost from curvature.",
    ),
    click.option(
        "--max-bit-operations",
        type=float,
        metavar="MILLIONS",
        help="Limit on the bit operations per frame of features, in millions.",
    ),
    click.option("--preset", metavar="NAME", help=f"The configuration apart from the widths; by default, {_PRESET}."),
    click.option("--config", metavar="YAML", help="A configuration file, instead of a preset."),
    click.option("--method", default="", help="How weights are rounded while measuring; by default, as in the result."),
)


@dataclass(frozen=True)
class SearchArguments:
    """The values of these options."""

    widths: str
    act_widths: str
    base_bits: int
    estimate: str
    max_bit_operations: float | None
    preset: str | None
    config: str | None
    method: str

    def options(self) -> SearchOptions:
        """What is searched.

        Raises:
            UsageError: there is nothing to choose, or a value is impossible.
        """
        from kaldi_quant.quant.search.options import SearchOptions, parse_widths

        return SearchOptions(
            parse_widths(self.widths, "--widths", with_float=True),
            parse_widths(self.act_widths, "--act-widths", with_none=True),
            self.base_bits,
            "second-order" if self.estimate == "second-order" else "measured",
            self.method,
            None if self.max_bit_operations is None else 1e6 * self.max_bit_operations,
        )

    def resolved(self) -> PtqConfig:
        """How networks are quantized, but for the widths."""
        from kaldi_quant.quant.presets import resolve

        config = resolve(self.preset if self.preset or self.config else _PRESET, self.config, None, None)[1]
        if config.backend == "torch":
            raise UsageError("PyTorch's own quantization knows 8 bits alone: there are no widths to choose")
        return config


#: Decorator: the verb gets these options, and their values as its argument ``searched``.
search_options = grouped_options("searched", SearchArguments, _OPTIONS)
