"""Minibatches whose target is what a float network makes of the noisy speech, in the place of the clean speech.

A network in integers that is trained for a short time comes closer to its float self so: what that cannot do is not
asked of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kaldi_quant.frontends.enhancement.networks.known import Around
from kaldi_quant.frontends.enhancement.training.losses import Target
from kaldi_quant.frontends.enhancement.training.minibatches import TrainingBatches
from kaldi_quant.torchnn.batches import Passes


class TaughtBatches(Passes):
    """Minibatches with other targets.

    Args:
        batches: with clean speech.
        around: what stands around the network.
        teacher: the float network, in test mode.
    """

    def __init__(self, batches: TrainingBatches, around: Around, teacher: nn.Module) -> None:
        self.batches, self.around, self.teacher = batches, around, teacher

    def __len__(self) -> int:
        """Minibatches of a pass."""
        return len(self.batches)

    def minibatches(self, number: int) -> Iterator[tuple[Tensor, Target]]:
        """(inputs, target) pairs of a pass."""
        for inputs, target in self.batches.minibatches(number):
            length = target.clean.shape[1]
            with torch.no_grad():
                spectrum = self.around.enhanced(target.noisy, self.teacher(inputs))
                waves = self.around.stft.waves(spectrum, length)
            is_signal = torch.arange(length) < target.samples[:, None]
            yield inputs, target._replace(clean=waves * is_signal)

    def digest(self) -> str:
        """What tells them from others; the teacher is the network that is trained."""
        return f"{self.batches.digest()} taught"
