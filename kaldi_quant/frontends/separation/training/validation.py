"""A network's score on development data, which chooses among passes of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kaldi_quant.frontends.separation.data.mixtures import Mixture
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.scores.measured import separation_scores
from kaldi_quant.frontends.separation.scores.measures import metrics_of
from kaldi_quant.torchnn.batches import HeldOutScore


def mean_score(name: str, mixtures: Sequence[Mixture], kind: Kind, digest: str) -> HeldOutScore:
    """The mean of a measure of separated signals, higher values of which are better.

    Args:
        name: of a metric of the kind.
        mixtures: of development data.
        kind: of the network.
        digest: what tells the mixtures from others.
    """
    metrics = [metric for metric in metrics_of(kind) if metric.name == name]

    @torch.no_grad()
    def mean(network: Any) -> float:
        """Raises DataError where there are no mixtures, MissingDependencyError where a package is missing."""
        device = next(network.parameters()).device
        estimates = {
            one.name: network(torch.from_numpy(one.mixture)[None].to(device))[0].cpu().numpy() for one in mixtures
        }
        return float(separation_scores(mixtures, estimates, kind, metrics)[name].value)

    return HeldOutScore(name, mean, digest)
