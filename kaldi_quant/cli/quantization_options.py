"""Options of what quantization does: shared by the verbs that quantize."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kaldi_quant.cli.inference_options import InferenceArguments, subsampling_of
from kaldi_quant.cli.options import check_number_of_utterances, grouped_options
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.tables import read_matrices

if TYPE_CHECKING:
    import torch

    from kaldi_quant.quant.calibration import CalibrationSet
    from kaldi_quant.quant.config import PtqConfig

_Function = TypeVar("_Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)

_OPTIONS = (
    click.option("--bits", type=int, help="Width of the weights, 2 to 16; 8 by default."),
    click.option("--act-bits", type=int, help="Width of layers' inputs, 2 to 16; 8 by default."),
    click.option("--preset", metavar="NAME", help="A named configuration; by default the one tuned for the widths."),
    click.option("--observer", metavar="NAME", help="How activation ranges are found, instead of the preset's way."),
    click.option("--per-channel", type=bool, help="Whether weights have a scale for each output channel."),
    click.option("--engine", metavar="NAME", help="Of PyTorch, for what it quantizes: onednn, x86, fbgemm or qnnpack."),
    click.option("--config", metavar="YAML", help="A configuration of your own, instead of a preset."),
    click.option(
        "--max-utterances", type=int, default=0, help="Calibrate on so many utterances, evenly chosen; 0 for all."
    ),
)


@dataclass(frozen=True)
class QuantizationArguments:
    """The values of these options."""

    bits: int | None
    act_bits: int | None
    preset: str | None
    observer: str | None
    per_channel: bool | None
    engine: str | None
    config: str | None
    max_utterances: int

    def __post_init__(self) -> None:
        """Refuses impossible values before anything else is read.

        Raises:
            UsageError: there is one.
        """
        self.resolve()

    def resolve(self) -> tuple[str | None, PtqConfig]:
        """The preset's name, if any, and the configuration."""
        from kaldi_quant.quant.presets import resolve

        check_number_of_utterances("--max-utterances", self.max_utterances)
        widths = (self.bits, self.act_bits)
        return resolve(self.preset, self.config, *widths, self.observer, self.per_channel, self.engine)

    def calibration_set(
        self, model: str, features: str, inference: InferenceArguments, device: torch.device | None = None
    ) -> CalibrationSet:
        """The utterances to calibrate on, and where networks compute them."""
        data = read_utterances(model, features, inference, device)
        return data.some(self.max_utterances) if self.max_utterances else data


def calibration_device(name: str, config: PtqConfig) -> torch.device:
    """Where calibration computes.

    Raises:
        UsageError: there is no such device, or what PyTorch quantizes was to be there.
    """
    from kaldi_quant.train.parallel.place import find_device

    if name == "cuda" and config.backend == "torch":
        raise UsageError("--device cuda: PyTorch's own quantization is calibrated on the CPU")
    return find_device(name)


def device_option() -> Callable[[_Function], _Function]:
    """``--device`` of verbs that calibrate."""
    text = "What runs the network; the integers are chosen on the CPU."
    return click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda", help=text)


def read_utterances(
    model: str, features: str, inference: InferenceArguments, device: torch.device | None = None
) -> CalibrationSet:
    """The utterances of a table, and how the model runs them; whether it takes them shows when it does."""
    from kaldi_quant.bad_utterances import BadUtterances
    from kaldi_quant.quant.calibration import CalibrationSet

    inference.set_threads()
    bad = BadUtterances(inference.max_bad_share)
    utterances = list(read_matrices(features, inference.allow_pipes, on_bad=bad.report))
    bad.good = len(utterances)
    bad.check()
    options = inference.options(subsampling_of(model))
    return CalibrationSet(utterances, options, inference.ivector_source(), inference.max_bad_share, device)


#: Decorator: the verb gets these options, and their values as its argument ``quantization``.
quantization_options = grouped_options("quantization", QuantizationArguments, _OPTIONS)
