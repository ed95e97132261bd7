"""What quantization leaves in a folder: the integer model, how it came about, and the widths where these were found."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaldi_quant.atomic import atomic_write
from kaldi_quant.formats.artefact import save
from kaldi_quant.formats.names import ARTEFACT_NAME, DEQUANTIZED_NAME
from kaldi_quant.formats.record import make_record, write_record
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.execution.choice import slower_than_float
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import Divergence, divergence, warning_of
from kaldi_quant.quant.network import QuantizedNetwork

_log = logging.getLogger(__name__)

# What 'export' made of an integer model that is replaced.
_OUTDATED = (DEQUANTIZED_NAME,)


@dataclass(frozen=True)
class Result:
    """What was written.

    Args:
        path: of the integer model.
        bytes: its size in the file system.
        record: how it came about.
        lost: the divergence from the float network on some of the calibration data.
    """

    path: Path
    bytes: int
    record: dict[str, Any]
    lost: Divergence


def write_result(
    folder: Path,
    network: QuantizedNetwork,
    model: Model,
    companions: Companions,
    config: PtqConfig,
    calibration: str,
    data: UtteranceSet,
    preset: str | None = None,
    more: dict[str, Any] | None = None,
) -> Result:
    """Writes quantized.safetensors, quantization.json and what belongs to the model beside them.

    Args:
        folder: for both.
        network: the integer network.
        model: the float model that it was made from.
        companions: what belongs to it, and its frame-subsampling factor.
        config: what was asked for.
        calibration: the rspecifier of the calibration set.
        data: the calibration set.
        preset: the name of the configuration's preset, if it has one.
        more: what else the record tells.

    Raises:
        DataError: the folder cannot be written, or no utterance can be used.
    """
    lost = divergence(network, data.some())
    record = {**record_of(network, companions, config, calibration, preset, lost), **(more or {})}
    path = folder / ARTEFACT_NAME
    companions.write(folder, ARTEFACT_NAME, _OUTDATED)
    size = save(path, network, model, record)
    write_record(folder, record, path)
    if config.backend != "torch" and (slow := slower_than_float(network, data.options.chunks.frame_subsampling_factor)):
        _log.info("%s", slow)
    if far := warning_of(lost, network.host.distance.far):
        _log.warning("%s", far)
    return Result(path, size, record, lost)


def record_of(
    network: QuantizedNetwork,
    companions: Companions,
    config: PtqConfig,
    calibration: str,
    preset: str | None,
    lost: Divergence,
) -> dict[str, Any]:
    """The record of a quantization; arguments as for ``write_result``, and the divergence from the float network."""
    assert companions.factor is not None
    return make_record(network, config, preset, calibration, companions.factor, companions.as_record(), lost)


def check_result_folder(folder: Path, companions: Companions) -> None:
    """Refuses a folder in which files lie that belong to other models, before any work.

    Raises:
        DataError: names the file.
    """
    companions.check(folder, ARTEFACT_NAME, _OUTDATED)


def write_config(path: Path, config: PtqConfig) -> None:
    """Writes a configuration as YAML, which 'quantize --config' and 'qat --config' read.

    Raises:
        DataError: the folder cannot be written.
    """
    content = config.as_dict()
    content = {"description": content.pop("description"), **content}
    with atomic_write(path, "w") as stream:
        yaml.safe_dump(content, stream, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
