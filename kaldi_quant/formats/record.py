"""How a quantized model came about: kept inside the artefact, and beside every result as ``quantization.json``."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from kaldi_quant import __version__
from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import FormatError
from kaldi_quant.formats.names import RECORD_NAME
from kaldi_quant.formats.sizes import bits_per_weight, float_inference_bytes
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.divergence import Divergence
from kaldi_quant.quant.network import QuantizedNetwork

_log = logging.getLogger(__name__)

_FORMAT = 1
_FLOAT_BYTES = 4

# Digits of the longest divergence and ratio in JSON.
_LONGEST_KL, _LONGEST_RATIO = 24, 8


def make_record(
    network: QuantizedNetwork,
    config: PtqConfig,
    preset: str | None,
    calibration: str,
    subsampling: int,
    companions: dict[str, Any],
    lost: Divergence,
) -> dict[str, Any]:
    """The record of a quantization.

    Args:
        network: the result.
        config: what was asked for.
        preset: the name of its preset, if it has one.
        calibration: the rspecifier of the calibration set.
        subsampling: frames per output row.
        companions: what lies beside the float model, as ``Companions.as_record`` gives it.
        lost: the divergence from the float network on calibration data.
    """
    return {
        **_how(config, preset),
        "calibration": calibration,
        "calibration_kl": lost.distance,
        "padding": _padding(network, lost),
        "frame_subsampling_factor": subsampling,
        "companions": companions,
        "bits_per_weight": bits_per_weight(network),
        "float_bytes": float_inference_bytes(nnet_of(network.host)),
        **_layers(network, lost),
    }


def make_torch_record(
    network: QuantizedNetwork, config: PtqConfig, preset: str | None, lost: Divergence, more: dict[str, Any]
) -> dict[str, Any]:
    """The record of the quantization of a torch network; arguments as for ``make_record``, and what else it tells."""
    return {
        **_how(config, preset),
        "calibration_distance": lost.distance,
        "distance_unit": lost.unit,
        "padding": _padding(network, lost),
        "bits_per_weight": bits_per_weight(network),
        "float_bytes": sum(_FLOAT_BYTES * value.numel() for value in network.host.executable().parameters()),
        **_layers(network, lost),
        "float_matmuls": network.float_matmuls,
        **more,
    }


def _how(config: PtqConfig, preset: str | None) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "preset": preset,
        "command": sys.argv,
        "code_version": code_version(),
        "config": config.as_dict(),
    }


def _layers(network: QuantizedNetwork, lost: Divergence) -> dict[str, Any]:
    ratios = _ratios(lost)
    layers = [
        {
            "name": name,
            "bits": layer.weight.spec.bits,
            "act_bits": network.act_bits(name),
            "parameters": layer.weight.integers.numel(),
            "sqnr_db": ratios[name],
        }
        for name, layer in network.layers.items()
    ]
    return {"layers": layers, "float_layers": network.float_layers}


def _padding(network: QuantizedNetwork, lost: Divergence) -> str:
    """Spaces that make records of all divergences equally long, so that a file's size is known before they are."""
    # Those of products of two values are not told.
    found = _ratios(lost)
    ratios = [_LONGEST_RATIO - len(json.dumps(found[name])) for name in network.layers]
    return " " * sum(missing for missing in [_LONGEST_KL - len(json.dumps(lost.distance)), *ratios] if missing > 0)


def _ratios(lost: Divergence) -> dict[str, float]:
    return {name: round(ratio, 2) for name, ratio in lost.sqnr_db.items()}


def float_record(nnet: Nnet) -> dict[str, Any]:
    """The record of a float model, to be compared with those of its integer forms."""
    size = float_inference_bytes(nnet)
    return {
        "format": _FORMAT,
        "preset": None,
        "command": sys.argv,
        "code_version": code_version(),
        "bits_per_weight": 32.0,
        "float_bytes": size,
    }


def write_record(folder: Path, record: dict[str, Any], model: Path) -> None:
    """Writes ``quantization.json`` with the model's path and its size in the file system."""
    content = {**record, "model": str(model), "artefact_bytes": model.stat().st_size}
    with atomic_write(folder / RECORD_NAME, "w") as stream:
        stream.write(json.dumps(content, indent=1) + "\n")


def subsampling_in(record: dict[str, Any], path: str, given: int | None = None) -> int:
    """The frames per output row of an integer model.

    Args:
        record: how it was made, which tells them.
        path: of its file.
        given: what an option says, which decides.

    Raises:
        FormatError: the record tells none.
    """
    factor = record.get("frame_subsampling_factor")
    if not isinstance(factor, int) or not 0 < factor < 1000:
        raise FormatError(path, None, f"expected a frame_subsampling_factor such as 3 in its record, found {factor!r}")
    if given is not None and given != factor:
        _log.warning("--frame-subsampling-factor %d is used, though %s says %d", given, path, factor)
        return given
    return factor


def torch_engine_in(record: dict[str, Any]) -> str | None:
    """The engine of PyTorch that a record names, for what PyTorch quantized; None for other models."""
    config = record.get("config")
    if not isinstance(config, dict) or config.get("backend") != "torch":
        return None
    return str(config.get("engine", "auto"))


def code_version() -> str:
    """The package's version, and in a git checkout the commit, with + where files were changed since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return __version__
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} ({described})"
