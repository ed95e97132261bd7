"""What a network needs: memory and operations by estimate, time in onnxruntime, and what ST's program tells."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kaldi_quant.atomic import atomic_write
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.mask_file import MaskFile
from kaldi_quant.frontends.enhancement.zoo.stedgeai import find_program, generate
from kaldi_quant.frontends.measures.times import ONNXRUNTIME, Subject, measure_times

_log = logging.getLogger(__name__)
FILE_NAME = "benchmark.json"
_MILLI = 1e-3


def benchmark(file: MaskFile, config: ZooConfig, folder: Path) -> dict[str, Any]:
    """Measures a network, and writes ``benchmark.json``.

    Args:
        file: the network; of one for any number of frames a call has ``quantization.static_sequence_length``.
        config: of the run.
        folder: of the run.

    Returns:
        what was found, as JSON has it.

    Raises:
        ModelError, FormatError: the network cannot be run.
        DataError: ST's program fails.
    """
    asked, board = config.tools.stedgeai, config.benchmarking.board
    frames = file.frames or config.quantization.static_sequence_length
    found: dict[str, Any] = {"model": str(file.path), "board": board, "frames": frames}
    found["bytes"] = file.path.stat().st_size
    times = measure_times({file.path.name: Subject(file.path)}, [torch.rand(1, config.bins, frames)])
    seconds = times[file.path.name].seconds[ONNXRUNTIME]
    found["milliseconds_in_onnxruntime"] = round(seconds / _MILLI, 4)
    found["seconds_of_speech"] = frames * config.preprocessing.hop_length / config.preprocessing.sample_rate
    program = find_program(asked)
    if program is not None:
        if file.frames is None:
            _log.warning("%s is for any number of frames: %s is for networks of a fixed one", file.path, program)
        else:
            footprint = generate(program, file.path, board, asked, folder)
            found["stedgeai"] = None if footprint is None else asdict(footprint)
    with atomic_write(folder / FILE_NAME, "w") as stream:
        stream.write(json.dumps(found, indent=1) + "\n")
    for key, value in found.items():
        _log.info("%s: %s", key, value)
    return found
