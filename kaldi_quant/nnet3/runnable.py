"""What can compute an output of an nnet3 network, whichever way it does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.context import Context
from kaldi_quant.nnet3.graph import Graph
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times


class Runnable(Protocol):
    """An ``AcousticModel``, or what stands in for one; attributes and call are those of ``AcousticModel``."""

    @property
    def nnet(self) -> Nnet:
        """The network."""

    @property
    def graph(self) -> Graph:
        """What the output is computed from."""

    @property
    def context(self) -> Context:
        """The context of an output frame."""

    @property
    def input_dim(self) -> int:
        """Columns of the features."""

    @property
    def ivector_dim(self) -> int:
        """Columns of the i-vector; 0 where the output does not depend on one."""

    @property
    def output_dim(self) -> int:
        """Columns of the output."""

    @property
    def batches_of_one_length(self) -> bool:
        """Whether a batch must hold sequences of one length, because padding would change the result."""

    def __call__(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> Tensor:
        """Computes the output of a batch."""

    def to(self, device: torch.device) -> Self:
        """Moves it."""

    def eval(self) -> Self:
        """Switches to test mode."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its parameters, whose first tells dtype and device; none for integer networks."""
