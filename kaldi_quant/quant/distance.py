"""How far two outputs of a network are from each other: what quantization is to keep small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.registry import Registry


class Distance(Protocol):
    """A distance of outputs, zero where they are the same; the smaller the better.

    Attributes:
        name: what it is called in tables.
        unit: of a mean row.
        far: from here on a quantized network is said to be far from float; None where no number is known.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    far: ClassVar[float | None]

    def sum(self, reference: np.ndarray, output: np.ndarray) -> float:
        """The distances of all rows together.

        Args:
            reference: (rows, columns) of the float network.
            output: (rows, columns) of the network in question.
        """

    def sampled(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """(): a random function of outputs, (rows, columns), with gradient.

        The expected outer product of a row's gradient is the distance's second derivative there.
        """


#: By name; a file of a network tells which one it is quantized for.
DISTANCES: Registry[type[Distance]] = Registry("distance of outputs")


@DISTANCES.add("divergence")
@dataclass(frozen=True)
class KullbackLeibler:
    """Of the distributions over classes that the softmax of outputs gives: KL(reference || output)."""

    name: ClassVar[str] = "divergence"
    unit: ClassVar[str] = "nats"
    # On the example, settings with 3 to 8 bits for weights and 8 for activations stay below 0.04; the preset
    # folded-per-tensor, which loses words, is above 0.3 (egs/alphadigits/RESULTS).
    far: ClassVar[float | None] = 0.05

    def sum(self, reference: np.ndarray, output: np.ndarray) -> float:
        """In nats; (frames, pdfs) log-likelihoods or anything else that softmax takes."""
        p, q = (torch.log_softmax(torch.from_numpy(x).double(), dim=1) for x in (reference, output))
        return float((p.exp() * (p - q)).sum())

    def sampled(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """The log-probabilities of classes drawn from the output's own distribution: its Fisher information."""
        scores = torch.log_softmax(output, dim=1)
        # Drawn in the main memory, where the generator is.
        classes = torch.multinomial(scores.detach().exp().cpu(), 1, generator=generator)
        return scores.gather(1, classes.to(scores.device)).sum()


@DISTANCES.add("squared error")
@dataclass(frozen=True)
class SquaredError:
    """The squared difference of outputs, summed over columns: for signals, masks and features."""

    name: ClassVar[str] = "squared error"
    unit: ClassVar[str] = "per row"
    far: ClassVar[float | None] = None

    def sum(self, reference: np.ndarray, output: np.ndarray) -> float:
        """(rows, columns) each."""
        return float(np.square(output.astype(np.float64) - reference).sum())

    def sampled(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Random signs times sqrt(2): the second derivative is twice the identity."""
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
        return (output * signs).sum() * 2**0.5


def mean_distance(distance: Distance, reference: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> float:
    """The distance of a quantized network's outputs from the float ones, for a mean row.

    Args:
        distance: that is meant.
        reference: outputs by unit, (rows, columns).
        outputs: the same of the quantized network.

    Raises:
        DataError: it has none for a unit, because they are not finite.
    """
    lost = reference.keys() - outputs.keys()
    if lost:
        raise DataError(f"the quantized network's outputs for {min(lost)} are not finite, and the float ones are")
    total = sum(distance.sum(expected, outputs[name]) for name, expected in reference.items())
    return total / sum(map(len, reference.values()))
