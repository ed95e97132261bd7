"""The cells of the table of speech enhancement: a network in float, by each scheme, and as onnxruntime quantizes it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized, quantize
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.backends.onnx.static_quantization import quantize_static
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.cells import FLOAT_METHOD, NetworkCells, Work
from kaldi_quant.frontends.enhancement.data import EnhancementSet
from kaldi_quant.frontends.enhancement.enhancers import RECORD_KEY, open_enhancer
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.enhancement.schemes.quantization import quantize_by
from kaldi_quant.frontends.enhancement.schemes.registered import SCHEMES
from kaldi_quant.frontends.enhancement.scores.cell_files import NOISY, write_cell_scores, write_noisy
from kaldi_quant.frontends.enhancement.scores.measured import enhancement_scores
from kaldi_quant.frontends.enhancement.scores.predictions import write_predictions
from kaldi_quant.frontends.enhancement.streaming import states_of, write_onnx_frame
from kaldi_quant.frontends.enhancement.training.checkpoint import write_network
from kaldi_quant.frontends.enhancement.training.losses import loss_of
from kaldi_quant.frontends.enhancement.training.minibatches import TrainingBatches
from kaldi_quant.frontends.enhancement.training.taught import TaughtBatches
from kaldi_quant.frontends.onnx_files import DYNAMIC_NAME, FIXED_NAME, in_float
from kaldi_quant.made import Made, Sources, make
from kaldi_quant.metrics.known import PESQ
from kaldi_quant.metrics.score_file import FILE_NAME as SCORES_NAME
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.units import Seconds

_log = logging.getLogger(__name__)
#: The float network of a cell, and of the recipe's folder of checkpoints.
FLOAT_FILE = "network.pth"
#: As onnxruntime quantizes the float network's file after training.
ONNXRUNTIME_CELL = "onnxruntime-ptq"
# Any quantization has the float network within: the one that is made in no time.
_FLOAT_PRESET = "baseline"
# Schemes that were published for one network.
_ONLY = {"mbqat-tcn": ("tcn-100k",)}


def cells_of(network: str) -> list[str]:
    """The names of all cells of a network, the float one first.

    Raises:
        UsageError: there is no such network.
    """
    NETWORKS[network]
    schemes = [name for name in SCHEMES if network in _ONLY.get(name, (network,))]
    return [FLOAT_METHOD, *schemes, ONNXRUNTIME_CELL]


@dataclass(frozen=True)
class CellOptions:
    """How cells are made.

    Args:
        calibration: on so many pieces of the training data, rounded up to minibatches.
        calibration_seconds: of each of them.
        epochs: passes of quantization-aware training.
        portions: of a pass; the learning rate falls from one to the next.
        batch_size: pieces in a minibatch.
        seconds: of a piece that is trained on.
        loss: a name of ``LOSSES``.
        taught: whether training aims at what the float network makes of noisy speech, and else at clean speech.
        seed: of order and pieces.
        heard: so many of the test's recordings are left as WAV files.
    """

    calibration: int = 64
    calibration_seconds: Seconds = 2.0
    epochs: int = 2
    portions: int = 1
    batch_size: int = 16
    seconds: Seconds = 2.0
    loss: str = "compressed-si-snr"
    taught: bool = False
    seed: int = 0
    heard: int = 4


@dataclass(frozen=True)
class EnhancementCells(NetworkCells):
    """What ``NetworkCells`` has, and more.

    Args:
        data: noisy and clean speech.
        options: how cells are made.
    """

    data: EnhancementSet
    options: CellOptions

    @property
    def kind(self) -> Kind:
        """How the network is built, and what stands around it."""
        return NETWORKS[self.network]

    def names(self) -> list[str]:
        """Of all cells, the float one first."""
        return cells_of(self.network)

    def reads_float_onnx(self, name: str) -> bool:
        """Whether onnxruntime makes a cell of the float one's file."""
        return name == ONNXRUNTIME_CELL

    def work(self, name: str, folder: Path) -> Work:
        """Makes a cell in its folder."""
        if name == FLOAT_METHOD:
            path, others, details = self._in_float(folder)
        elif name == ONNXRUNTIME_CELL:
            path, others, details = self._by_onnxruntime(folder)
        else:
            path, others, details = self._by_scheme(name, folder)
        pairs = list(self.data.test)
        run = open_enhancer(name, str(folder / DYNAMIC_NAME), self.network).enhance
        found = {pair.name: run(pair.noisy) for pair in pairs}
        scores = enhancement_scores(pairs, found, self.data.rate)
        others += write_cell_scores(folder, scores)
        step = max(1, len(pairs) // max(1, self.options.heard))
        if self.options.heard:
            others += write_predictions(folder, pairs, found, self.data.rate, range(0, len(pairs), step))
        parameters = sum(value.numel() for value in self.trained.network.parameters())
        details["scores"] = {metric: score.value for metric, score in scores.items()}
        return Work(path, scores[PESQ.name], parameters, others, details)

    def _in_float(self, folder: Path) -> tuple[Path, list[Path], dict[str, Any]]:
        path, found = folder / FLOAT_FILE, self.trained
        write_network(path, found.name, found.network, found.made, found.sizes)
        within = in_float(quantize(found.network, _FLOAT_PRESET, calibration=[self.calibration()[0][:1]]))
        return path, self._onnx_files(within, folder), {}

    def _by_onnxruntime(self, folder: Path) -> tuple[Path, list[Path], dict[str, Any]]:
        path = folder / DYNAMIC_NAME
        given = open_session(self.float_onnx.read_bytes()).get_inputs()[0].name
        quantize_static(self.float_onnx, path, ({given: x.numpy()} for x in self.calibration()))
        return path, [], {}

    def _by_scheme(self, name: str, folder: Path) -> tuple[Path, list[Path], dict[str, Any]]:
        network, around = self.trained.network, self.kind.around
        batches = self._batches(self.options.seconds, self.options.portions)
        found = quantize_by(
            name,
            self.kind,
            network,
            self.calibration(),
            TaughtBatches(batches, around, network) if self.options.taught else batches,
            loss_of(self.options.loss, around),
            epochs=self.options.epochs * self.options.portions,
            folder=folder,
        )
        path = folder / ARTEFACT_NAME
        files.save(found, path, {RECORD_KEY: {"network": self.network}})
        return path, self._onnx_files(found, folder), dict(found.notes)

    def _onnx_files(self, quantized: Quantized, folder: Path) -> list[Path]:
        """For whole recordings; and for one frame of a stream, which has no ranges of whole recordings."""
        network = self.trained.network
        found = [files.export(quantized, folder / DYNAMIC_NAME)]
        is_dynamic = any(isinstance(layer, DynamicLinear) for layer in quantized.network.layers.values())
        if streams(network) and not is_dynamic:
            found.append(write_onnx_frame(quantized, network, self.kind.around, folder / FIXED_NAME))
        return found

    def calibration(self) -> list[Tensor]:
        """What the network is called with, for pieces of the training data, several at a time: recurrences are slow."""
        batches = self._batches(self.options.calibration_seconds)
        count = math.ceil(self.options.calibration / batches.batch_size)
        return [inputs for inputs, _ in islice(batches.minibatches(0), count)]

    def _batches(self, seconds: Seconds, portions: int = 1) -> TrainingBatches:
        """Pieces of the training data of so many seconds."""
        options = self.options
        return TrainingBatches(
            self.data.train,
            self.kind.around,
            batch_size=options.batch_size,
            seconds=seconds,
            seed=options.seed,
            rate=self.data.rate,
            portions=portions,
        )


def streams(network: torch.nn.Module) -> bool:
    """Whether a network sees no later frame, and takes states."""
    try:
        states_of(network)
    except UsageError:
        return False
    return True


def make_noisy(folder: Path, data: EnhancementSet) -> Path:
    """Scores noisy speech itself, unless that was done; returns the folder of the scores.

    Args:
        folder: of the cells of a seed.
        data: noisy and clean speech.
    """
    place = folder / NOISY
    place.mkdir(parents=True, exist_ok=True)
    made = Made(place / SCORES_NAME, Sources({"test": data.test.digest()}), str(place))
    make(made, lambda: write_noisy(folder, list(data.test), data.rate), _log.info)
    return place
