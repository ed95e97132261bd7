"""What networks need: memory and operations by estimate, time in onnxruntime, and what ST's program tells."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kaldi_quant.atomic import atomic_write
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.mask_file import MaskFile
from kaldi_quant.frontends.enhancement.zoo.stedgeai import FOLDER_NAME, find_program, generate
from kaldi_quant.frontends.measures.estimate import estimate
from kaldi_quant.frontends.measures.times import ONNXRUNTIME, Subject, measure_times

_log = logging.getLogger(__name__)
FILE_NAME = "benchmark.json"
_MILLI = 1e-3


def benchmark(networks: Sequence[MaskFile], config: ZooConfig, folder: Path) -> dict[str, dict[str, Any]]:
    """Measures networks, and writes ``benchmark.json``.

    Args:
        networks: a call of one for any number of frames has ``quantization.static_sequence_length``.
        config: of the run.
        folder: of the run.

    Returns:
        what was found, by the names of files, as JSON has it.

    Raises:
        ModelError, FormatError: a network cannot be run.
        DataError: ST's program fails.
    """
    program = find_program(config.tools.stedgeai)
    found = {}
    for file in networks:
        needs = _needs(file, config)
        if program is not None and file.frames is not None:
            out = folder / FOLDER_NAME / file.path.stem
            footprint = generate(program, file.path, config.benchmarking.board, config.tools.stedgeai, out)
            needs["stedgeai"] = None if footprint is None else asdict(footprint)
        elif program is not None:
            _log.warning("%s is for any number of frames: %s is for networks of a fixed one", file.path, program)
        found[file.path.name] = needs
        _log.info("%s: %s", file.path.name, ", ".join(f"{name} {value}" for name, value in needs.items()))
    with atomic_write(folder / FILE_NAME, "w") as stream:
        stream.write(json.dumps({"board": config.benchmarking.board, "models": found}, indent=1) + "\n")
    return found


def _needs(file: MaskFile, config: ZooConfig) -> dict[str, Any]:
    """Of one network."""
    signals = config.preprocessing
    frames = file.frames or config.quantization.static_sequence_length
    shape = (1, config.bins, frames)
    told = estimate(file.path, {file.input: shape})
    times = measure_times({file.path.name: Subject(file.path)}, [torch.rand(shape)])
    return {
        "frames": frames,
        "milliseconds_of_speech": frames * signals.hop_length / signals.sample_rate / _MILLI,
        "milliseconds_in_onnxruntime": round(times[file.path.name].seconds[ONNXRUNTIME] / _MILLI, 4),
        "estimated_weight_bytes": told.weight_bytes,
        "estimated_activation_bytes": told.activations.bytes,
        "multiply_accumulates": told.multiply_accumulates,
        "file_bytes": file.path.stat().st_size,
    }
