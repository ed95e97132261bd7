"""The services: each step of an operation mode begins with what the steps before it have left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import nn

from kaldi_quant.frontends.enhancement.data import EnhancementSet
from kaldi_quant.frontends.enhancement.zoo.benchmark import benchmark
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.data import calibration_clips, read_data
from kaldi_quant.frontends.enhancement.zoo.deployment import check_deployable, deploy
from kaldi_quant.frontends.enhancement.zoo.evaluation import Evaluated, compared, evaluate, in_windows, mask_of_file
from kaldi_quant.frontends.enhancement.zoo.figures import SCORES_NAME, TRAINING_NAME, plot_epochs, plot_scores
from kaldi_quant.frontends.enhancement.zoo.front import MaskFunction, ZooFront
from kaldi_quant.frontends.enhancement.zoo.mask_file import MaskFile, read_mask_file
from kaldi_quant.frontends.enhancement.zoo.modes import FROM_FLOAT, MODES, Step
from kaldi_quant.frontends.enhancement.zoo.network import build_network, export_network
from kaldi_quant.frontends.enhancement.zoo.quantization import QuantizedFiles, quantize_both, require_float
from kaldi_quant.frontends.enhancement.zoo.tracking import Tracking, tracked
from kaldi_quant.frontends.enhancement.zoo.training import read_epochs, train

_log = logging.getLogger(__name__)
LAST_NAME, BEST_NAME = "trained_model.onnx", "best_trained_model.onnx"
FLOAT = "float"
# Behind the name of the folder with a float network's scores.
_QUANTIZED = "_quantized"
_FIRST = "onnxruntime"


@dataclass
class Run:
    """A run, and what its steps have left so far.

    Args:
        config: what is done.
        folder: of the run.
        tracking: of its scores.
        quantized: the network in 8 bits, by who quantized it.
        scores: of networks, by their names.
    """

    config: ZooConfig
    folder: Path
    tracking: Tracking = field(default_factory=Tracking)
    quantized: dict[str, QuantizedFiles] = field(default_factory=dict)
    scores: dict[str, Evaluated] = field(default_factory=dict)
    _model: MaskFile | None = None

    @cached_property
    def front(self) -> ZooFront:
        """What stands around the network."""
        return ZooFront.of(self.config.preprocessing)

    @cached_property
    def data(self) -> EnhancementSet:
        """The pairs."""
        return read_data(self.config, self.front)

    @property
    def models(self) -> Path:
        """The folder of ONNX files."""
        return self.folder / self.config.general.saved_models_dir

    @property
    def model(self) -> MaskFile:
        """The network that the next step is about: the one that was given, or has been trained."""
        if self._model is None:
            assert self.config.model.onnx_path, "checked beforehand"
            self._model = read_mask_file(Path(self.config.model.onnx_path).expanduser(), self.config.bins)
        return self._model

    def check(self) -> None:
        """Looks at the network and the front before any work.

        Raises:
            KaldiQuantError: they do not fit what is to be done.
        """
        _ = self.front
        mode = self.config.operation_mode
        if mode in FROM_FLOAT:
            require_float(self.model, mode)
        elif MODES[mode] == ("deploy",):
            check_deployable(self.model, self.config)
        elif self.config.model.onnx_path and "train" not in MODES[mode]:
            _ = self.model

    def train(self) -> None:
        """Trains a network, and goes on with the best one."""
        config, shown = self.config, self.config.general.display_figures
        made = train(build_network(config), self.data, config, self.front, self.folder)
        for network, name in ((made.last, LAST_NAME), (made.best, BEST_NAME)):
            export_network(network, self.models / name, config.bins, config.training.opset_version)
        self._model = read_mask_file(self.models / BEST_NAME, config.bins)
        rows = read_epochs(made.table)
        plot_epochs(rows, made.table.with_name(TRAINING_NAME), shown)
        self.tracking.epochs(rows)

    def evaluate(self) -> None:
        """Scores the network, of an ONNX file or of a state dict."""
        config = self.config
        if self._model is None and not config.model.onnx_path:
            network: nn.Module = build_network(config)
            mask: MaskFunction = in_windows(network, config, config.evaluation.fixed_sequence_length)
        else:
            mask = mask_of_file(self.model, config, config.evaluation.fixed_sequence_length)
        self._score(FLOAT, mask, self.folder / config.evaluation.logs_path)

    def quantize(self) -> None:
        """Makes 8-bit networks of it."""
        clips = calibration_clips(self.config, self.front)
        self.quantized = quantize_both(self.model, clips, self.config, self.front, self.models)
        for files in self.quantized.values():
            _log.info("%s and %s", files.dynamic.path, files.static.path)

    def evaluate_quantized(self) -> None:
        """Scores all of these."""
        logs = self.folder / self.config.evaluation.logs_path
        logs = logs.with_name(f"{logs.name}{_QUANTIZED}")
        for quantizer, files in self.quantized.items():
            for kind, file in (("", files.dynamic), ("static", files.static)):
                name = "_".join(filter(None, [quantizer, kind]))
                place = logs / "_".join(filter(None, [quantizer if quantizer != _FIRST else "", kind]))
                self._score(name, mask_of_file(file, self.config), place)
        for line in compared(self.scores):
            _log.info("%s", line)
        plot_scores(self.scores, logs / SCORES_NAME, self.config.general.display_figures)

    def benchmark(self) -> None:
        """Measures what networks of a fixed length need that have been quantized here; or the given one."""
        networks = [files.static for files in self.quantized.values()] or [self.model]
        found = benchmark(networks, self.config, self.folder)
        for name, needs in found.items():
            numbers = {key: value for key, value in needs.items() if isinstance(value, int | float)}
            self.tracking.scores(Path(name).stem, numbers)

    def deploy(self) -> None:
        """Makes a network ready for a board: that of onnxruntime, if it has been quantized in this run."""
        file = self.quantized[_FIRST].static if self.quantized else self.model
        deploy(file, self.config, self.folder)

    def _score(self, name: str, mask: MaskFunction, folder: Path) -> None:
        found = evaluate(mask, self.front, self.data.test, self.data.rate)
        found.write(folder)
        self.scores[name] = found
        self.tracking.scores(name, found.means)
        _log.info("%s: %s", name, found)


_STEPS: dict[Step, Callable[[Run], None]] = {
    "train": Run.train,
    "evaluate": Run.evaluate,
    "quantize": Run.quantize,
    "evaluate_quantized": Run.evaluate_quantized,
    "benchmark": Run.benchmark,
    "deploy": Run.deploy,
}


def run_services(config: ZooConfig, folder: Path) -> Run:
    """Does what an operation mode says.

    Args:
        config: checked.
        folder: of the run.

    Returns:
        the run, with what it has left.

    Raises:
        KaldiQuantError: the network or the data cannot be used; see the steps.
    """
    run = Run(config, folder)
    run.check()
    with tracked(config, folder) as run.tracking:
        for step in MODES[config.operation_mode]:
            _log.info("%s: %s", config.operation_mode, step.replace("_", " "))
            _STEPS[step](run)
    return run
