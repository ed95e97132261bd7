"""Distillation: the float network teaches by its distribution over pdfs.

Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.nnet.schedule import Span
from kaldi_quant.nnet.time_access import Times


@dataclass
class Distillation:
    """A teacher.

    Args:
        teacher: the float network; its parameters are not changed.
        temperature: divides both outputs before the softmax; the divergence is multiplied by its square, so that
            gradients keep their size.
        share: of the loss, from 0 to 1; the rest is LF-MMI's.

    Raises:
        UsageError: a value is impossible.
    """

    teacher: AcousticModel
    temperature: float = 1.0
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise UsageError(f"--temperature {self.temperature:g}: expected a number above 0")
        if not 0 <= self.share <= 1:
            raise UsageError(f"--distillation {self.share:g}: expected a share from 0 to 1")

    def divergence(
        self, student: Tensor, feats: Tensor, span: Span, output_times: Times, ivectors: Tensor | None
    ) -> Tensor:
        """KL(teacher || student), the mean over frames.

        Args:
            student: (N, T, pdfs), its output.
            feats: (N, frames, dim), what it was computed from.
            span: the first and one past the last time of the features.
            output_times: (T,).
            ivectors: (N, dim), where the network has that input.

        Returns:
            (), with gradients for the student.
        """
        with torch.no_grad():
            teacher = self.teacher(feats, [span] * len(feats), output_times, ivectors)
            target = functional.log_softmax(teacher / self.temperature, dim=-1)
        found = functional.log_softmax(student / self.temperature, dim=-1)
        rows = functional.kl_div(found.flatten(0, 1), target.flatten(0, 1), reduction="batchmean", log_target=True)
        return rows * self.temperature**2
