"""What quantization leaves in a folder: the integer model, how it came about, and the widths where these were found."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaldi_quant.atomic import atomic_write
from kaldi_quant.export.artefact import save
from kaldi_quant.export.record import ARTEFACT_NAME, make_record, write_record
from kaldi_quant.kaldi.model import Model
from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import Divergence, divergence, warning_of
from kaldi_quant.quant.fast.choice import slower_than_float
from kaldi_quant.quant.network import QuantizedNetwork

_log = logging.getLogger(__name__)

#: A configuration with the widths that were found for a model's layers.
ALLOCATION_NAME = "allocation.yaml"


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
    config: PtqConfig,
    calibration: str,
    data: CalibrationSet,
    subsampling: int,
    preset: str | None = None,
    more: dict[str, Any] | None = None,
) -> Result:
    """Writes quantized.safetensors and quantization.json.

    Args:
        folder: for both.
        network: the integer network.
        model: the float model that it was made from.
        config: what was asked for.
        calibration: the rspecifier of the calibration set.
        data: the calibration set.
        subsampling: frames per output row.
        preset: the name of the configuration's preset, if it has one.
        more: what else the record tells.

    Raises:
        DataError: the folder cannot be written, or no utterance can be used.
    """
    lost = divergence(network, data.some())
    record = {**make_record(network, config, preset, calibration, subsampling, lost), **(more or {})}
    path = folder / ARTEFACT_NAME
    size = save(path, network, model, record)
    write_record(folder, record, path)
    if config.backend != "torch" and (slow := slower_than_float(network, subsampling)):
        _log.info("%s", slow)
    if far := warning_of(lost):
        _log.warning("%s", far)
    return Result(path, size, record, lost)


def write_config(path: Path, config: PtqConfig) -> None:
    """Writes a configuration as YAML, which 'quantize --config' and 'qat --config' read.

    Raises:
        DataError: the folder cannot be written.
    """
    content = config.as_dict()
    content = {"description": content.pop("description"), **content}
    with atomic_write(path, "w") as stream:
        yaml.safe_dump(content, stream, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
