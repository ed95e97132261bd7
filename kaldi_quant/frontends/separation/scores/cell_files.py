"""Where the scores of cells of source separation stand, and those of mixtures themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaldi_quant.frontends.cell_scores import CellScores
from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.separation.scores.measured import ScoredMixture, mixture_scores
from kaldi_quant.frontends.separation.scores.measures import metrics_of
from kaldi_quant.metrics.metric import Metric

#: Beside the networks' folders: a folder for each of them with the scores of mixtures, as if nothing was done to them.
MIXTURE = "mixture"
#: In the details of a cell of music: the median over tracks of SDR-v4 of each stem, in dB (``SourceValues.medians``).
MEDIANS_KEY = "medians"


def cell_scores(kind: Kind) -> CellScores:
    """Where the scores of a kind of networks stand."""
    return CellScores("separated signals", metrics_of(kind))


def mixture_folder(exp: Path, network: str) -> Path:
    """The folder of the scores of the mixtures that a network separates, below that of all cells or of a seed's."""
    return exp / MIXTURE / network


def write_mixture_scores(
    exp: Path, network: str, mixtures: Sequence[ScoredMixture], metrics: Sequence[Metric] | None = None
) -> list[Path]:
    """Writes the scores of mixtures in the place of their sources, and returns their paths.

    Args:
        exp: the folder of all cells, or of those of a seed.
        network: of ``NETWORKS``.
        mixtures: the test set.
        metrics: which scores; by default those of the network's kind.

    Raises:
        DataError: a file cannot be written, or a recording is broken.
        UsageError: there is no such network.
    """
    kind = NETWORKS[network]
    return cell_scores(kind).write(mixture_folder(exp, network), mixture_scores(mixtures, kind, metrics))
