"""Options of the recipes that quantize: how, on what, and what is exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.calibration_amount import CALIBRATION_FRAMES_OPTION, check_frames
from kaldi_quant.cli.export import parse_formats
from kaldi_quant.cli.options import grouped_options
from kaldi_quant.cli.quantization_options import METHOD_OPTIONS, checked
from kaldi_quant.cli.recipes.experiment import Defaults, data_apart

if TYPE_CHECKING:
    from kaldi_quant.quant.config import PtqConfig

_CALIBRATION_OPTIONS = (
    click.option(
        "--calibration-dir",
        metavar="DIR",
        help="Data folder to calibrate on, with feats.scp; never the one that is scored. By default "
        "data/train_960_cleaned_sp_hires.",
    ),
    click.option(
        "--calibration-ivector-dir",
        metavar="DIR",
        help="Its i-vectors; by default the folder exp/nnet3*/ivectors_DATA that fits the model.",
    ),
    click.option(
        "--calibration-utterances",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Calibrate on so many of its utterances at most, evenly chosen; 0 for all.",
    ),
    CALIBRATION_FRAMES_OPTION,
    click.option(
        "--formats",
        metavar="LIST",
        help="What is exported beside the integer model: mdl,onnx; none for nothing; by default all that it has.",
    ),
    click.option(
        "--fixed-frames",
        type=click.IntRange(min=1),
        default=150,
        show_default=True,
        help="Frames of the ONNX model of fixed length.",
    ),
)


@dataclass(frozen=True)
class MethodArguments:
    """The values of the options that choose a configuration."""

    bits: int | None
    act_bits: int | None
    preset: str | None
    observer: str | None
    per_channel: bool | None
    group_size: int | None
    config: str | None

    def resolve(self, engine: str | None = None) -> PtqConfig:
        """The configuration.

        Raises:
            UsageError: a value is impossible, or options exclude each other.
        """
        widths = (self.bits, self.act_bits)
        return checked(self.preset, self.config, *widths, self.observer, self.per_channel, engine, self.group_size)[1]

    def from_folder(self, here: Path) -> MethodArguments:
        """With the configuration's path as the user meant it: from the folder where the recipe was called."""
        return self if self.config is None else replace(self, config=str(here / self.config))

    @property
    def name(self) -> str:
        """For folders: the preset's, the configuration's, or the widths."""
        if self.preset or self.config:
            return self.preset or Path(str(self.config)).name.removesuffix(".yaml")
        groups = f"-g{self.group_size}" if self.group_size else ""
        return f"w{self.bits or 8}a{8 if self.act_bits is None else self.act_bits}{groups}"


@dataclass(frozen=True)
class CalibrationArguments:
    """The values of the options on calibration and export."""

    calibration_dir: str | None
    calibration_ivector_dir: str | None
    calibration_utterances: int
    calibration_frames: int
    formats: str | None
    fixed_frames: int

    def check(self) -> None:
        """Refuses impossible values before any work.

        Raises:
            UsageError: there is one.
        """
        check_frames(self.calibration_frames)
        if self.formats != "none":
            parse_formats(self.formats)

    @property
    def amount(self) -> dict[str, int]:
        """The values of the verbs' options that say how much is calibrated on."""
        return {"max_utterances": self.calibration_utterances, "calibration_frames": self.calibration_frames}

    def folder(self, defaults: Defaults, scored: Path) -> Path:
        """The data folder to calibrate on.

        Args:
            defaults: where no option names it.
            scored: the data folder that is scored.

        Raises:
            UsageError: it is missing, or the one that is scored.
        """
        folder = Path(self.calibration_dir or defaults.calibration)
        return data_apart(folder, scored, "calibrate on", "--calibration-dir")


#: Decorator: the recipe gets these options, and their values as its argument ``quantizing``.
method_options: Callable[..., Any] = grouped_options("quantizing", MethodArguments, METHOD_OPTIONS)
#: Decorator: the recipe gets these options, and their values as its argument ``calibration``.
calibration_options: Callable[..., Any] = grouped_options("calibration", CalibrationArguments, _CALIBRATION_OPTIONS)
