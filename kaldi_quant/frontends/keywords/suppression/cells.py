"""The cells of NSNet2 in the table of keyword networks: in float, after training, after distillation, weights only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.api.quantization import compile as compile_network
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.backends.onnx.static_quantization import quantize_static
from kaldi_quant.backends.torch_engines.whole_modules import quantize_dynamic
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.cells import FLOAT_METHOD, Work, cell_name, flat, make_cell
from kaldi_quant.frontends.checkpoints import write_parameters
from kaldi_quant.frontends.keywords.networks.nsnet2 import Gains, NSNet2
from kaldi_quant.frontends.keywords.networks.nsnet2_file import installed_nsnet2, load_nsnet2
from kaldi_quant.frontends.keywords.suppression.config import SuppressionConfig
from kaldi_quant.frontends.keywords.suppression.enhancement import Network, Suppressor, features_of
from kaldi_quant.frontends.keywords.suppression.evaluation import enhanced, suppression_scores
from kaldi_quant.frontends.keywords.suppression.noisy_speech import NoisySpeech, noisy_speech
from kaldi_quant.frontends.keywords.suppression.quantization import (
    distil_nsnet2,
    quantize_nsnet2,
    with_recurrent_ranges,
)
from kaldi_quant.frontends.keywords.suppression.sentences import Sentences, read_speech
from kaldi_quant.frontends.methods import FLOAT, ONNXRUNTIME, QAT, TORCH
from kaldi_quant.frontends.onnx_files import DYNAMIC_NAME, FIXED_NAME, in_float
from kaldi_quant.made import Sources
from kaldi_quant.metrics.known import PESQ
from kaldi_quant.metrics.score_file import write_score

_log = logging.getLogger(__name__)
NETWORK = "nsnet2"
#: Under this key the record of an integer model has the rate that it was made for.
RECORD_KEY = "suppression"
# Any quantization has the float network within: the one that is made in no time.
_FLOAT_PRESET = "baseline"
# Of the ONNX files.
_INPUTS = ("features", "first", "second")
#: The model's file, the other files, and what runs it.
Left = tuple[Path, list[Path], Network]
# Of the example for a file with any number of frames.
_FRAMES = 8


@dataclass(frozen=True)
class SuppressionCells:
    """What makes them.

    Args:
        sentences: without noise.
        folder: ``exp``.
        command: that makes them, for records.
        config: how.
    """

    sentences: Sentences
    folder: Path
    command: str
    config: SuppressionConfig

    @property
    def name(self) -> str:
        """Of the cell's folder."""
        name = cell_name(self.config.method, self.config.preset)
        return name if self.config.model.recurrent_ranges == "static" else f"{name}-dynamic"

    def make(self) -> Path:
        """Makes the cell that the configuration describes, unless it is there; returns its folder.

        Raises:
            KaldiQuantError: the data, the network and the configuration do not fit each other.
        """
        place = self.folder / NETWORK / self.name
        paths = {
            "the sentences": [path for split in self.sentences.values() for path in split.values()],
            "the float network": [self.float_file],
        }
        sources = Sources(dict(flat(asdict(self.config))), paths)
        make_cell(place, self.config.preset, self.command, sources, self._work)
        return place

    @property
    def float_file(self) -> Path:
        """The ONNX file with the float network."""
        given = self.config.model.pretrained_path
        return Path(given) if given else installed_nsnet2(self.config.data.sample_rate)

    @cached_property
    def network(self) -> NSNet2:
        """In float."""
        return load_nsnet2(self.float_file)

    def noisy(self, split: str) -> list[NoisySpeech]:
        """The sentences of a split with noise."""
        rate = self.config.data.sample_rate
        return noisy_speech(read_speech(self.sentences[split], rate), rate, self.config.data.noise)

    def quantized(self, folder: Path) -> Quantized:
        """As the configuration says; folder: of the distillation, where there is one."""
        config, network = self.config, self.network
        train = [utterance.noisy for utterance in self.noisy("train")]
        preset = with_recurrent_ranges(config.preset, config.model.recurrent_ranges)
        found = quantize_nsnet2(network, train[: config.model.calibration], preset)
        found = replace(found, preset=config.preset)
        if config.method == QAT:
            found = distil_nsnet2(found, network, train, config.train, config.data.sample_rate, folder)
        return found

    def _work(self, folder: Path) -> Work:
        test, rate = self.noisy("test"), self.config.data.sample_rate
        suppressor = Suppressor.of(self.network)
        of_float = enhanced(suppressor, test)
        if self.config.method == FLOAT:
            within = quantize_nsnet2(self.network, [self.noisy("dev")[0].noisy], _FLOAT_PRESET)
            others = _write_onnx(folder, in_float(within), suppressor)
            path, scores = others.pop(0), suppression_scores(test, of_float, rate)
        else:
            path, others, network = _MAKERS.get(self.config.method, SuppressionCells._integers)(
                self, folder, suppressor
            )
            scores = suppression_scores(test, enhanced(suppressor.with_network(network), test), rate, of_float)
        for name, score in {**scores.of_clean, "of-float": scores.of_float}.items():
            if score is not None:
                others.append(write_score(folder_of(folder, name), score))
        noisy = suppression_scores(test, {utterance.name: utterance.noisy for utterance in test}, rate)
        details = {"scores": scores.values(), "of_noisy": noisy.values(), "utterances": len(test)}
        parameters = sum(value.numel() for value in self.network.parameters())
        return Work(path, scores.of_clean[PESQ.name], parameters, others, details)

    def _integers(self, folder: Path, suppressor: Suppressor) -> Left:
        """Quantized here."""
        quantized, path = self.quantized(folder), folder / ARTEFACT_NAME
        files.save(quantized, path, {RECORD_KEY: {"sample_rate": self.config.data.sample_rate}})
        return path, _write_onnx(folder, quantized, suppressor), compile_network(quantized)

    def _by_onnxruntime(self, folder: Path, suppressor: Suppressor) -> Left:
        """The float network's files as onnxruntime quantizes them, which leaves GRUs in float."""
        train = self.noisy("train")[: self.config.model.calibration]
        for name in (DYNAMIC_NAME, FIXED_NAME):
            calls = [(features_of(suppressor.stft.spectrum(one.noisy)), *suppressor.states) for one in train]
            if name == FIXED_NAME:
                calls = [(frame, *states) for features, *states in calls for frame in features.split(1, 1)]
            inputs = (dict(zip(_INPUTS, [each.numpy() for each in call], strict=True)) for call in calls)
            quantize_static(self.folder / NETWORK / FLOAT_METHOD / name, folder / name, inputs)
        session = open_session((folder / DYNAMIC_NAME).read_bytes())

        def network(*call: Tensor) -> Gains:
            given = dict(zip(_INPUTS, [each.numpy() for each in call], strict=True))
            gains, first, second = map(torch.from_numpy, session.run(None, given))
            return gains, first, second

        return folder / DYNAMIC_NAME, [folder / FIXED_NAME], network

    def _by_torch(self, folder: Path, suppressor: Suppressor) -> Left:
        """As PyTorch quantizes it with ranges of each call; that has no ONNX form."""
        network, path = quantize_dynamic(self.network), folder / "model.pth"
        write_parameters(path, network)
        return path, [], network


def folder_of(cell: Path, score: str) -> Path:
    """The folder of one of a cell's scores; PESQ stands in the cell's own, too."""
    found = cell / score.lower()
    found.mkdir(exist_ok=True)
    return found


_MAKERS: dict[str, Callable[[SuppressionCells, Path, Suppressor], Left]] = {
    ONNXRUNTIME: SuppressionCells._by_onnxruntime,
    TORCH: SuppressionCells._by_torch,
}


def _write_onnx(folder: Path, quantized: Quantized, suppressor: Suppressor) -> list[Path]:
    """Writes ``network.onnx``, for any number of frames, and ``network_fixed.onnx``, for one frame of a stream."""
    found = []
    for name, frames in ((DYNAMIC_NAME, _FRAMES), (FIXED_NAME, 1)):
        features = torch.zeros(1, frames, suppressor.stft.bins)
        call = (features, *suppressor.states)
        found.append(files.export(quantized, folder / name, example=call, dynamic_axes=frames > 1))
    return found
