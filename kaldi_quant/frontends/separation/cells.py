"""The cells of the table of source separation: a network in float, and by each scheme."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import Tensor

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized, quantize
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.cells import FLOAT_METHOD, NetworkCells, Work
from kaldi_quant.frontends.onnx_files import DYNAMIC_NAME, in_float
from kaldi_quant.frontends.separation.data import SeparationSet, TrainingBatches, held_out_batches
from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.separation.networks.without_transforms import for_onnx
from kaldi_quant.frontends.separation.schemes.quantization import quantize_by
from kaldi_quant.frontends.separation.schemes.scheme import SCHEMES
from kaldi_quant.frontends.separation.scores.cell_files import (
    MEDIANS_KEY,
    cell_scores,
    mixture_folder,
    write_mixture_scores,
)
from kaldi_quant.frontends.separation.scores.measured import source_values
from kaldi_quant.frontends.separation.scores.measures import metrics_of
from kaldi_quant.frontends.separation.scores.predictions import write_predictions
from kaldi_quant.frontends.separation.separators import RECORD_KEY, open_separator
from kaldi_quant.frontends.separation.training.checkpoint import write_network
from kaldi_quant.made import Made, Sources, make
from kaldi_quant.metrics.known import SDR_V4
from kaldi_quant.metrics.score_file import FILE_NAME as SCORES_NAME
from kaldi_quant.units import Seconds

_log = logging.getLogger(__name__)

#: The float network of a cell, and of the recipe's folder of checkpoints.
FLOAT_FILE = "network.pth"
# Any quantization has the float network within: the one that is made in no time.
_FLOAT_PRESET = "baseline"


@dataclass(frozen=True)
class CellOptions:
    """How cells are made.

    Args:
        calibration: on so many pieces of the training data, rounded up to minibatches.
        epochs: passes of quantization-aware training; 0 for what quantization after training gives.
        portions: of a pass; the learning rate falls from one to the next.
        batch_size: pieces in a minibatch.
        seconds: of a piece.
        keep: mixtures of training are made anew after so many passes.
        seed: of order and pieces.
        heard: so many of the test's mixtures are left as WAV files.
    """

    calibration: int = 32
    epochs: int = 4
    portions: int = 1
    batch_size: int = 8
    seconds: Seconds = 2.0
    keep: int = 1
    seed: int = 0
    heard: int = 3


@dataclass(frozen=True)
class SeparationCells(NetworkCells):
    """What ``NetworkCells`` has, and more.

    Args:
        data: mixtures and sources.
        options: how cells are made.
    """

    data: SeparationSet
    options: CellOptions

    @property
    def kind(self) -> Kind:
        """How the network is built, and what it separates."""
        return NETWORKS[self.network]

    def names(self) -> list[str]:
        """Of all cells, the float one first."""
        return [FLOAT_METHOD, *SCHEMES]

    def work(self, name: str, folder: Path) -> Work:
        """Makes a cell in its folder."""
        found = self._quantized(name, folder)
        if name == FLOAT_METHOD:
            path, trained = folder / FLOAT_FILE, self.trained
            write_network(path, trained.name, trained.network, trained.made, trained.sizes)
        else:
            path = folder / ARTEFACT_NAME
            files.save(found, path, {RECORD_KEY: {"network": self.network}})
        # Of a network with transforms within, the ONNX file is what lies between them, for mixtures of one length.
        exported = for_onnx(found)
        is_whole = exported is found
        others = [files.export(exported, folder / DYNAMIC_NAME, dynamic_axes=is_whole)]
        mixtures = list(self.data.test)
        separator = open_separator(name, others[0] if is_whole else path, self.network)
        estimates = {each.name: separator.separate(each.mixture) for each in mixtures}
        values = source_values(mixtures, estimates, self.kind)
        scores = {
            metric: each.score("tracks" if self.kind.is_ordered else "recordings") for metric, each in values.items()
        }
        others += cell_scores(self.kind).write(folder, scores)
        if self.options.heard:
            step = max(1, len(mixtures) // self.options.heard)
            others += write_predictions(folder, mixtures, estimates, self.kind, range(0, len(mixtures), step))
        parameters = sum(value.numel() for value in self.trained.network.parameters())
        details = {**found.notes, "scores": {metric: score.value for metric, score in scores.items()}}
        if SDR_V4.name in values:
            details[MEDIANS_KEY] = values[SDR_V4.name].medians(self.kind)
        return Work(path, scores[metrics_of(self.kind)[0].name], parameters, others, details)

    def _quantized(self, name: str, folder: Path) -> Quantized:
        network, calibration = self.trained.network, self.calibration()
        if name == FLOAT_METHOD:
            return in_float(quantize(network, _FLOAT_PRESET, calibration=[calibration[0][:1]]))
        return quantize_by(
            name,
            self.kind,
            network,
            calibration,
            self._batches(self.options.portions),
            epochs=self.options.epochs * self.options.portions,
            folder=folder,
            held_out=held_out_batches(list(self.data.dev), self.options.batch_size),
        )

    def calibration(self) -> list[Tensor]:
        """Mixtures of the training data, (N, C, T) each."""
        batches = self._batches()
        count = math.ceil(self.options.calibration / batches.batch_size)
        return [mixture for mixture, _ in islice(batches.minibatches(0), count)]

    def _batches(self, portions: int = 1) -> TrainingBatches:
        options = self.options
        return TrainingBatches(
            self.data.train,
            batch_size=options.batch_size,
            seconds=options.seconds,
            keep=options.keep,
            portions=portions,
            seed=options.seed,
            rate=self.data.rate,
        )


def make_mixture(folder: Path, network: str, data: SeparationSet) -> Path:
    """Scores the mixtures themselves, unless that was done; returns the folder of the scores.

    Args:
        folder: of the cells of a seed.
        network: that separates them.
        data: mixtures and sources.
    """
    place = mixture_folder(folder, network)
    place.mkdir(parents=True, exist_ok=True)
    made = Made(place / SCORES_NAME, Sources({"test": data.test.digest()}), str(place))
    make(made, lambda: write_mixture_scores(folder, network, list(data.test)), _log.info)
    return place
