"""The cells of Wav2Vec2: in float, and quantized as a configuration says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.keywords.cells import FLOAT_METHOD, Work, make_cell
from kaldi_quant.frontends.keywords.config import FLOAT, QAT
from kaldi_quant.frontends.keywords.data import KeywordSet, load_batches, read_keywords
from kaldi_quant.frontends.keywords.evaluation import (
    Run,
    accuracy_of,
    interval,
    latency,
    run_integers,
    run_module,
    run_onnx,
)
from kaldi_quant.frontends.keywords.models import RECORD_KEY
from kaldi_quant.frontends.keywords.networks.wav2vec2_folder import CONFIG, FEATURES, WEIGHTS, write_wav2vec2
from kaldi_quant.frontends.keywords.onnx_files import DYNAMIC_NAME, in_float, write_onnx_files
from kaldi_quant.frontends.keywords.wav2vec2_config import Wav2Vec2Settings
from kaldi_quant.frontends.keywords.wav2vec2_training import first_network, quantize, train_float, train_quantized
from kaldi_quant.made import Sources
from kaldi_quant.metrics.score import Score
from kaldi_quant.torchnn.host import TorchHost

NETWORK = "wav2vec2"

_FLOAT_FILES = (WEIGHTS, CONFIG, FEATURES)
# What the float network is taken out of: any quantization has it within.
_ANY_PRESET = "w8a8"


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
    kind = _FloatWork if settings.method == FLOAT else _QuantizedWork
    work = kind(settings, keywords, checkpoint)
    recordings = [recording.path for split in keywords.splits.values() for recording in split]
    sources = {"the recordings": list(dict.fromkeys(recordings))}
    if checkpoint is not None:
        sources["the float checkpoint"] = [checkpoint / name for name in (WEIGHTS, CONFIG)]
    made_of = Sources(dict(_flat(asdict(settings))), sources)
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
        self.example = next(iter(self._batches(1)))

    def _batches(self, size: int) -> Iterator[Tensor]:
        """Waves of the test data, (size, 1, T) each."""
        data = load_batches(self.keywords.test, sample_rate=self.settings.data.sample_rate, batch_size=size)
        return (batch.waves for batch in data)

    def _score(self, run: Run) -> Score:
        data = self.settings.data
        return accuracy_of(run, self.keywords.test, data.sample_rate, data.batch_size)

    def _details(self, run: Run, folder: Path, parameters: int) -> dict[str, Any]:
        """What is told beside the score: its interval, and the same of the ONNX file, and how fast that is."""
        onnx = run_onnx((folder / DYNAMIC_NAME).read_bytes())
        batches = list(self._batches(self.settings.data.batch_size))
        same = [np.asarray(run(waves)).argmax(-1) == np.asarray(onnx(waves)).argmax(-1) for waves in batches]
        score = self._score(run)
        return {
            "interval": list(interval(score)),
            "recordings": len(score.per_unit),
            "parameters": parameters,
            "onnx_bytes": (folder / DYNAMIC_NAME).stat().st_size,
            "onnx_same_answers": float(100 * np.concatenate(same).mean()),
            "onnx_latency_ms": {
                str(len(waves)): 1000 * latency(onnx, waves, runs=10, warm_up=2) for waves in (self.example, batches[0])
            },
        }


class _FloatWork(_Work):
    """Trains the float network."""

    def __call__(self, folder: Path) -> Work:
        """Leaves the checkpoint and ONNX files."""
        trained = train_float(self.network, self.keywords, self.settings, folder)
        write_wav2vec2(trained, folder)
        within = quantize(trained, self.keywords, _with_preset(self.settings, _ANY_PRESET))
        others = write_onnx_files(folder, in_float(within), self.example)
        run = run_module(trained)
        parameters = sum(value.numel() for value in trained.parameters())
        others = [*others, *(folder / name for name in _FLOAT_FILES[1:])]
        return Work(folder / WEIGHTS, self._score(run), others, self._details(run, folder, parameters))


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
        run = run_integers(quantized)
        details = self._details(run, folder, sum(value.numel() for value in self.network.parameters()))
        return Work(folder / ARTEFACT_NAME, self._score(run), others, {**details, **_in_float(quantized)})


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


def _with_preset(settings: Wav2Vec2Settings, preset: str) -> Wav2Vec2Settings:
    return replace(settings, model=replace(settings.model, preset=preset))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"data": {"version": 1}}`` as ``data.version`` and 1."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
