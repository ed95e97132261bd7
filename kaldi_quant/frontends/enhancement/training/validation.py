"""A network's score on development data, which chooses among passes of training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.networks.known import Around
from kaldi_quant.frontends.enhancement.training.minibatches import NoisyClean
from kaldi_quant.metrics.speech import MEASURES
from kaldi_quant.quant.host import Executable
from kaldi_quant.torchnn.batches import HeldOutScore
from kaldi_quant.units import Hertz


def mean_score(name: str, pairs: Iterable[NoisyClean], around: Around, rate: Hertz, digest: str) -> HeldOutScore:
    """The mean of a measure of enhanced speech; where it is not defined, as for silence, it does not count.

    Args:
        name: of ``MEASURES``.
        pairs: of development data.
        around: what stands around the network.
        rate: of waves.
        digest: what tells the pairs from others.

    Raises:
        UsageError: there is no such measure.
    """
    measure, kept = MEASURES[name], [(pair.noisy, pair.clean) for pair in pairs]

    @torch.no_grad()
    def mean(network: Executable) -> float:
        """Raises DataError where it is defined for none, MissingDependencyError where a package is missing."""
        values, reason = [], "there are none"
        for noisy, clean in kept:
            enhanced = around.enhance(network, torch.from_numpy(noisy)[None])[0].numpy()
            try:
                values.append(measure(clean, enhanced, rate))
            except DataError as error:
                reason = str(error)
        if not values:
            raise DataError(f"{name} is not defined for any of the development data: {reason}")
        return float(np.mean(values))

    return HeldOutScore(name, mean, digest)
