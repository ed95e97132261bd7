"""How much of a table is calibrated on: options shared by the verbs and recipes that calibrate."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.options import check_number_of_utterances, grouped_options
from kaldi_quant.cli.utterances import read_utterances
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.model import Model
from kaldi_quant.units import Frames

if TYPE_CHECKING:
    import torch

    from kaldi_quant.nnet3.utterances import UtteranceSet

_log = logging.getLogger(__name__)

#: By default. From 24,000 to 48,000 frames the divergence of the example's models on development data falls by 8 to
#: 15 %, from there to 75,000 by 1 to 3 %.
CALIBRATION_FRAMES: Frames = 60_000

# Utterances are read for so many times the chunks that are wanted, some of them being shorter than a chunk.
_READ_AHEAD = 3

CALIBRATION_FRAMES_OPTION: Callable[..., Any] = click.option(
    "--calibration-frames",
    type=int,
    default=CALIBRATION_FRAMES,
    show_default=True,
    help="Calibrate on this many frames, drawn evenly from all utterances; 0: all.",
)
#: Both options.
AMOUNT_OPTIONS = (
    click.option(
        "--max-utterances",
        type=int,
        default=0,
        show_default=True,
        help="Calibrate on this many utterances, evenly spaced; 0: all.",
    ),
    CALIBRATION_FRAMES_OPTION,
)


@dataclass(frozen=True)
class AmountArguments:
    """The values of these options."""

    max_utterances: int
    calibration_frames: int

    def __post_init__(self) -> None:
        """Refuses impossible values before anything is read.

        Raises:
            UsageError: there is one.
        """
        check_number_of_utterances("--max-utterances", self.max_utterances)
        check_frames(self.calibration_frames)

    def of_table(
        self, model: Model, features: str, inference: InferenceArguments, device: torch.device | None = None
    ) -> UtteranceSet:
        """What is calibrated on.

        Args:
            model: the network.
            features: the table, an rspecifier; where it is an scp, no more of it is read than may be wanted.
            inference: how the network computes utterances.
            device: where.
        """
        from kaldi_quant.nnet3.drawn import CHUNK

        # An archive may give half as many as are asked for, and so many are wanted exactly.
        most = 2 * self.max_utterances or _READ_AHEAD * -(-self.calibration_frames // CHUNK)
        return self.of(read_utterances(model, features, inference, device, most), model)

    def of(self, utterances: UtteranceSet, model: Model) -> UtteranceSet:
        """As much of utterances as is wanted."""
        from kaldi_quant.nnet3.drawn import drawn

        some = utterances.some(self.max_utterances) if self.max_utterances else utterances
        found = drawn(some, model.nnet, self.calibration_frames) if self.calibration_frames else some
        if found is not some:
            _log.info("calibration on %d frames of %d utterances", found.amount(), len(found.units))
        return found


def check_frames(number: Frames) -> None:
    """Refuses a number of frames that cannot be.

    Raises:
        UsageError: it is negative.
    """
    if number < 0:
        raise UsageError(f"--calibration-frames cannot be negative, found {number}: give 0 for all")


#: Decorator: the verb gets these options, and their values as its argument ``amount``.
amount_options: Callable[..., Any] = grouped_options("amount", AmountArguments, AMOUNT_OPTIONS)
