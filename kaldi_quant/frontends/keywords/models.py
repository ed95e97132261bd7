"""Models of keywords as files: made as a configuration says, opened whatever they are, and evaluated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import DataError, FormatError, ModelError, UsageError
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.frontends.keywords.checkpoint import read_checkpoint, write_checkpoint
from kaldi_quant.frontends.keywords.config import KeywordConfig
from kaldi_quant.frontends.keywords.data import KeywordSet, load_batches
from kaldi_quant.frontends.keywords.evaluation import (
    Run,
    accuracy_of,
    interval,
    latency,
    run_integers,
    run_module,
    run_onnx,
)
from kaldi_quant.frontends.keywords.training import check_classes, made_of, quantize, train_float, train_quantized
from kaldi_quant.frontends.methods import FLOAT, QAT
from kaldi_quant.frontends.onnx_files import onnx_content
from kaldi_quant.units import Bytes

_log = logging.getLogger(__name__)
#: Under this key the record of an integer model has the words and the rate that it was made for.
RECORD_KEY = "keywords"
LATENCY_BATCH = 256


def make_models(keywords: KeywordSet, config: KeywordConfig) -> list[Path]:
    """Makes the files that a configuration asks for, and returns their paths.

    Raises:
        KaldiQuantError: the data, the float checkpoint and the configuration do not fit each other.
    """
    if config.method == FLOAT:
        path = config.output()
        write_checkpoint(path, train_float(keywords, config, training_folder(path)))
        return [path]
    network = float_network(keywords, config)
    blocks: Sequence[int | None] = config.model.quantization if config.is_layer_wise else [None]
    paths = []
    for block in blocks:
        path = config.output(block)
        write_quantized(path, make_quantized(keywords, config, network, training_folder(path), block), keywords, config)
        _log.info("%s: written", path)
        paths.append(path)
    return paths


def training_folder(path: Path) -> Path:
    """Where the training of a model is recorded: its epochs, and a checkpoint with which it goes on."""
    return path.with_name(f"{path.stem}_training")


def float_network(keywords: KeywordSet, config: KeywordConfig) -> nn.Module:
    """The float network that quantization begins with.

    Raises:
        FormatError, ModelError: there is none, or it is another one.
        DataError, UsageError: it is for other words, or for waves of another rate.
    """
    path = config.model.base_cnn.pretrained_path
    found = read_checkpoint(path, config.model.base_cnn)
    check_fits(path, found.classes, found.sample_rate, found.network.n_output, keywords, config)
    return found.network


def make_quantized(
    keywords: KeywordSet, config: KeywordConfig, network: nn.Module, folder: Path, block: int | None = None
) -> Quantized:
    """The quantized network.

    Args:
        keywords: the data.
        config: how.
        network: in float.
        folder: of the training, where there is one.
        block: that is quantized alone; None for the whole network.
    """
    start = quantize(keywords, config, network, block)
    return train_quantized(keywords, config, start, folder) if config.method == QAT else start


def write_quantized(path: Path, quantized: Quantized, keywords: KeywordSet, config: KeywordConfig) -> Bytes:
    """Writes an integer model with its words; returns its size."""
    about = {"classes": list(keywords.classes), "sample_rate": config.data.sample_rate, "made": made_of(config)}
    return files.save(quantized, path, {RECORD_KEY: about})


@dataclass(frozen=True)
class Opened:
    """A model that was read.

    Args:
        run: computes it exactly: the float network, or the integer reference.
        fast: computes it as fast as this machine can.
        kind: what it is, for a person.
        bytes: of the file.
    """

    run: Run
    fast: Run
    kind: str
    bytes: Bytes


def open_model(path: str | Path, keywords: KeywordSet, config: KeywordConfig) -> Opened:
    """Reads a float checkpoint or an integer model, told by its content.

    Raises:
        FormatError, ModelError: the file is missing or broken, or holds another network.
        DataError, UsageError: it is for other words, or for waves of another rate.
    """
    path = Path(path)
    if not is_artefact(path):
        found = read_checkpoint(path, config.model.base_cnn)
        check_fits(path, found.classes, found.sample_rate, found.network.n_output, keywords, config)
        run = run_module(found.network)
        return Opened(run, run, "float", path.stat().st_size)
    quantized = files.load(path)
    if not isinstance(quantized, Quantized) or not isinstance((quantized.record or {}).get(RECORD_KEY), dict):
        raise ModelError(f"{path} is an integer model, but not one of keywords: expected what main.py writes")
    record: dict[str, Any] = quantized.record[RECORD_KEY] if quantized.record else {}
    classes, rate = record.get("classes"), record.get("sample_rate")
    if not isinstance(classes, list) or not isinstance(rate, int):
        raise FormatError(str(path), None, "its record does not tell its classes and its sample rate")
    check_fits(path, tuple(map(str, classes)), rate, len(classes), keywords, config)
    fast = run_onnx(onnx_content(quantized))
    return Opened(run_integers(quantized), fast, "integers", path.stat().st_size)


def check_fits(
    path: str | Path,
    classes: Sequence[str],
    sample_rate: int,
    outputs: int,
    keywords: KeywordSet,
    config: KeywordConfig,
) -> None:
    """Refuses a model that is for other words or waves than the data and the configuration.

    Args:
        path: of the model.
        classes: its words; none where the file does not tell.
        sample_rate: likewise, or 0.
        outputs: how many classes it has.
        keywords: the data.
        config: how waves are read.

    Raises:
        DataError: a class is missing on either side.
        UsageError: the rates differ.
    """
    where = config.data.raw_dir
    check_classes(keywords, config.model.base_cnn.n_output, where)
    for word in classes:
        if word not in keywords.classes:
            raise DataError(f"{where} has no class {word!r}, which {path} was trained on")
    for word in keywords.classes:
        if classes and word not in classes:
            raise DataError(f"{path} was not trained on the class {word!r}, which {where} has")
    if (classes and tuple(classes) != keywords.classes) or outputs != len(keywords.classes):
        raise DataError(f"{path} has {outputs} classes in its order, expected {len(keywords.classes)} as in {where}")
    if sample_rate and sample_rate != config.data.sample_rate:
        raise UsageError(
            f"{path} was trained on waves of {sample_rate} Hz, and data, sample_rate is {config.data.sample_rate}"
        )


def evaluate(opened: Opened, keywords: KeywordSet, config: KeywordConfig) -> dict[str, Any]:
    """Size, accuracy on test data, and latency of a batch; as JSON has it."""
    rate = config.data.sample_rate
    score = accuracy_of(opened.run, keywords.test, rate, config.data.batch_size)
    low, high = interval(score)
    waves = next(iter(load_batches(keywords.test, sample_rate=rate, batch_size=LATENCY_BATCH))).waves
    # The batch has this size however small the test set is.
    waves = waves.repeat(-(-LATENCY_BATCH // len(waves)), 1, 1)[:LATENCY_BATCH]
    return {
        "kind": opened.kind,
        "bytes": opened.bytes,
        "accuracy": score.value,
        "interval": [low, high],
        "recordings": len(score.per_unit),
        "latency_ms": 1000 * latency(opened.fast, waves),
        "latency_batch": LATENCY_BATCH,
    }


def said(result: dict[str, Any]) -> str:
    """The lines that a person reads of it."""
    low, high = result["interval"]
    return "\n".join(
        [
            f"size {result['bytes'] / 1000:.2f} KB",
            f"accuracy {result['accuracy']:.2f} % [{low:.2f}, {high:.2f}] on {result['recordings']} recordings",
            f"latency {result['latency_ms']:.2f} ms for a batch of {result['latency_batch']} ({result['kind']})",
        ]
    )
