"""The cells of Wav2Vec2: in float, and quantized as a configuration says."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.backends.torch_engines.whole_modules import quantize_dynamic
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.cells import FLOAT_METHOD, Work, flat, make_cell
from kaldi_quant.frontends.checkpoints import write_parameters
from kaldi_quant.frontends.keywords.data import KeywordSet, load_batches, read_keywords
from kaldi_quant.frontends.keywords.evaluation import (
    Run,
    answers_of,
    interval,
    run_integers,
    run_module,
    run_onnx,
)
from kaldi_quant.frontends.keywords.models import RECORD_KEY
from kaldi_quant.frontends.keywords.networks.wav2vec2_folder import CONFIG, FEATURES, WEIGHTS, write_wav2vec2
from kaldi_quant.frontends.keywords.wav2vec2_config import Wav2Vec2Settings
from kaldi_quant.frontends.keywords.wav2vec2_training import (
    calibration_set,
    first_network,
    quantize,
    train_float,
    train_quantized,
)
from kaldi_quant.frontends.methods import FLOAT, ONNXRUNTIME, QAT, TORCH
from kaldi_quant.frontends.onnx_files import (
    DYNAMIC_NAME,
    FIXED_NAME,
    in_float,
    quantize_by_onnxruntime,
    write_onnx_files,
)
from kaldi_quant.made import Sources
from kaldi_quant.metrics.score import Score
from kaldi_quant.torchnn.host import TorchHost

NETWORK = "wav2vec2"

# What the float network is taken out of for ONNX: any quantization has it within, however it was calibrated.
_ANY_PRESET, _FEW = "w8a8", 8


def make_wav2vec2_cell(settings: Wav2Vec2Settings, folder: Path, command: str) -> Path:
    """Makes the cell of a configuration, unless it is there and nothing that made it has changed; returns its folder.

    Args:
        settings: the configuration.
        folder: of all networks.
        command: that makes the cell, for its record.

    Raises:
        KaldiQuantError: the data, the float checkpoint and the configuration do not fit each other.
    """
    keywords = read_keywords(Path(settings.data.raw_dir), settings.data.layout)
    checkpoint = Path(settings.model.pretrained) if settings.model.pretrained else None
    if checkpoint is None and settings.method != FLOAT:
        checkpoint = folder / NETWORK / FLOAT_METHOD
    work = _WORKS.get(settings.method, _QuantizedWork)(settings, keywords, checkpoint)
    recordings = [recording.path for split in keywords.splits.values() for recording in split]
    sources = {"the recordings": list(dict.fromkeys(recordings))}
    if checkpoint is not None:
        sources["the float checkpoint"] = [checkpoint / name for name in (WEIGHTS, CONFIG)]
    made_of = Sources(dict(flat(asdict(settings))), sources)
    place = folder / NETWORK / settings.cell
    make_cell(place, settings.preset, command, made_of, work)
    return place


class _Work:
    """Makes a cell in its folder.

    Args:
        settings: the configuration.
        keywords: the data.
        checkpoint: the folder of what it begins with; None for random weights.

    Raises:
        KaldiQuantError: the checkpoint does not fit the data.
    """

    def __init__(self, settings: Wav2Vec2Settings, keywords: KeywordSet, checkpoint: Path | None) -> None:
        self.settings, self.keywords = settings, keywords
        self.network = first_network(keywords, settings, checkpoint)
        # One recording, as ONNX files are traced with it: (1, 1, T).
        some = load_batches(keywords.train[:1], sample_rate=settings.data.sample_rate, batch_size=1)
        self.example = next(iter(some)).waves

    @property
    def parameters(self) -> int:
        """Of the float network."""
        return sum(value.numel() for value in self.network.parameters())

    def _score(self, run: Run, folder: Path) -> tuple[Score, dict[str, Any]]:
        """The score, and what is told beside it: its interval, and how often the ONNX file answers the same, in %."""
        data, onnx, same = self.settings.data, run_onnx((folder / DYNAMIC_NAME).read_bytes()), []

        def both(waves: Tensor) -> Any:
            found = np.asarray(run(waves))
            same.extend(found.argmax(-1) == np.asarray(onnx(waves)).argmax(-1))
            return found

        answers = answers_of(both, self.keywords.test, data.sample_rate, data.batch_size)
        score = answers.score
        return score, {
            "confusions": answers.confusions(self.keywords.classes),
            "interval": list(interval(score)),
            "recordings": len(score.per_unit),
            "onnx_bytes": (folder / DYNAMIC_NAME).stat().st_size,
            "onnx_same_answers": float(100 * np.mean(same)),
        }


class _FloatWork(_Work):
    """Trains the float network."""

    def __call__(self, folder: Path) -> Work:
        """Leaves the checkpoint and ONNX files."""
        trained = train_float(self.network, self.keywords, self.settings, folder)
        write_wav2vec2(trained, folder)
        model = replace(self.settings.model, preset=_ANY_PRESET, calibration=_FEW)
        within = quantize(trained, self.keywords, replace(self.settings, model=model))
        others = write_onnx_files(folder, in_float(within), self.example)
        score, details = self._score(run_module(trained), folder)
        return Work(folder / WEIGHTS, score, self.parameters, [*others, folder / CONFIG, folder / FEATURES], details)


class _QuantizedWork(_Work):
    """Quantizes a float network, and trains it where the configuration says so."""

    def __call__(self, folder: Path) -> Work:
        """Leaves the integer model and ONNX files."""
        quantized = quantize(self.network, self.keywords, self.settings)
        if self.settings.method == QAT:
            quantized = train_quantized(quantized, self.keywords, self.settings, folder)
        about = {"classes": list(self.keywords.classes), "sample_rate": self.settings.data.sample_rate}
        files.save(quantized, folder / ARTEFACT_NAME, {RECORD_KEY: about})
        others = write_onnx_files(folder, quantized, self.example)
        score, details = self._score(run_integers(quantized), folder)
        return Work(folder / ARTEFACT_NAME, score, self.parameters, others, {**details, **_in_float(quantized)})


class _OnnxruntimeWork(_Work):
    """Lets onnxruntime quantize the float cell's files, calibrated as ``quantize`` is."""

    def __call__(self, folder: Path) -> Work:
        """Leaves ONNX files."""
        quantize_by_onnxruntime(folder.parent / FLOAT_METHOD, folder, calibration_set(self.keywords, self.settings))
        score, details = self._score(run_onnx((folder / DYNAMIC_NAME).read_bytes()), folder)
        return Work(folder / DYNAMIC_NAME, score, self.parameters, [folder / FIXED_NAME], details)


class _TorchWork(_Work):
    """Lets PyTorch quantize fully connected layers dynamically."""

    def __call__(self, folder: Path) -> Work:
        """Leaves its parameters; it has no ONNX form."""
        network, path = quantize_dynamic(self.network), folder / "model.pth"
        write_parameters(path, network)
        data = self.settings.data
        answers = answers_of(run_module(network), self.keywords.test, data.sample_rate, data.batch_size)
        details = {"confusions": answers.confusions(self.keywords.classes)}
        return Work(path, answers.score, self.parameters, [], details)


_WORKS: dict[str, type[_FloatWork | _OnnxruntimeWork | _TorchWork]] = {
    FLOAT: _FloatWork,
    ONNXRUNTIME: _OnnxruntimeWork,
    TORCH: _TorchWork,
}


def _in_float(quantized: Quantized) -> dict[str, Any]:
    """What is not computed in integers, and why."""
    host = quantized.network.host
    assert isinstance(host, TorchHost)
    operations = host.float_operations().values()
    return {
        "float_layers": quantized.float_layers,
        "float_matmuls": quantized.float_matmuls,
        "float_operations": {what: list(operations).count(what) for what in sorted(set(operations))},
    }
