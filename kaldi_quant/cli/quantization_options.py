"""Options of what quantization does: shared by the verbs that quantize."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kaldi_quant.cli.calibration_amount import AMOUNT_OPTIONS, AmountArguments
from kaldi_quant.cli.options import grouped_options, kaldi_bool_option
from kaldi_quant.errors import UsageError
from kaldi_quant.units import Bytes

if TYPE_CHECKING:
    import torch

    from kaldi_quant.quant.config import PtqConfig

_Function = TypeVar("_Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)

_GIGABYTE = 1 << 30

#: Which configuration: shared with the recipes.
METHOD_OPTIONS = (
    click.option("--bits", type=int, help="Bits per weight, 2 to 16; by default, 8."),
    click.option(
        "--act-bits",
        type=int,
        help="Bits per activation (layer input), 2 to 16; by default, 8. With 0, weights alone are quantized.",
    ),
    click.option(
        "--preset", metavar="NAME", help="A named configuration; by default, the one tuned for --bits and --act-bits."
    ),
    click.option(
        "--observer", metavar="NAME", help="How activation ranges are measured; by default, as the preset says."
    ),
    kaldi_bool_option(
        "--per-channel",
        default=None,
        show_default="as the preset says",
        help="Give the weights of each output channel a scale of their own.",
    ),
    click.option(
        "--group-size",
        type=int,
        default=None,
        show_default="as the preset says",
        help="Give so many consecutive columns of a row of weights a scale of their own; 0, one scale for the row.",
    ),
    click.option("--config", metavar="YAML", help="A configuration file, instead of a preset."),
)
_OPTIONS = (
    *METHOD_OPTIONS,
    click.option(
        "--engine", metavar="NAME", help="PyTorch's engine, for the presets torch-*: onednn, x86, fbgemm or qnnpack."
    ),
    *AMOUNT_OPTIONS,
)


def checked(*options: Any) -> tuple[str | None, PtqConfig]:
    """The configuration that options ask for, if it is possible here; options and result as of ``presets.resolve``.

    Raises:
        UsageError: it is not.
        MissingDependencyError: a package is missing.
    """
    from kaldi_quant.nnet3.quantization import check_config
    from kaldi_quant.quant.presets import resolve

    preset, config = resolve(*options)
    check_config(config)
    return preset, config


@dataclass(frozen=True)
class QuantizationArguments:
    """The values of these options."""

    bits: int | None
    act_bits: int | None
    preset: str | None
    observer: str | None
    per_channel: bool | None
    group_size: int | None
    engine: str | None
    config: str | None
    max_utterances: int
    calibration_frames: int

    def __post_init__(self) -> None:
        """Refuses impossible values before anything else is read.

        Raises:
            UsageError: there is one.
        """
        self.amount  # noqa: B018 - it refuses what is impossible
        self.resolve()

    @property
    def amount(self) -> AmountArguments:
        """How much is calibrated on."""
        return AmountArguments(self.max_utterances, self.calibration_frames)

    def resolve(self) -> tuple[str | None, PtqConfig]:
        """The preset's name, if any, and the configuration."""
        widths = (self.bits, self.act_bits)
        return checked(self.preset, self.config, *widths, self.observer, self.per_channel, self.engine, self.group_size)


def calibration_device(name: str, config: PtqConfig) -> torch.device:
    """Where calibration and what is measured beside it compute.

    Raises:
        UsageError: there is no such device, or what PyTorch quantizes was to be there.
    """
    from kaldi_quant.train.parallel.device_context import find_device

    if name == "cuda" and config.backend == "torch":
        raise UsageError("--device cuda: PyTorch's own quantization is calibrated on the CPU")
    return find_device(name)


def device_option() -> Callable[[_Function], _Function]:
    """``--device`` of verbs that calibrate and measure."""
    text = "What runs the network; the integers are chosen on the CPU."
    return click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda", help=text)


def _in_bytes(context: click.Context, parameter: click.Parameter, gigabytes: float) -> Bytes:
    if not 0 <= gigabytes < math.inf:
        raise UsageError(f"--memory {gigabytes:g}: expected 0 or more gigabytes")
    return int(gigabytes * _GIGABYTE)


def memory_option(what: str) -> Callable[[_Function], _Function]:
    """``--memory`` of verbs whose batches wait for layers; what: does the work. The value is in bytes."""
    return click.option(
        "--memory",
        type=float,
        default=0.5,
        show_default=True,
        metavar="GB",
        callback=_in_bytes,
        help=f"What {what} may keep in memory of hidden layers' values; the rest waits in temporary files.",
    )


#: Decorator: the verb gets these options, and their values as its argument ``quantization``.
quantization_options = grouped_options("quantization", QuantizationArguments, _OPTIONS)
