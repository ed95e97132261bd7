"""What the cells of a network cost: operations, time and memory, all measured in one run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from kaldi_quant.api import files
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.errors import DataError
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.frontends.cells import FLOAT_METHOD
from kaldi_quant.frontends.measures.memory import peak_memory
from kaldi_quant.frontends.measures.operations import multiply_accumulates
from kaldi_quant.frontends.measures.times import Subject, Times, measure_times, onnx_inputs
from kaldi_quant.frontends.onnx_files import DYNAMIC_NAME, FIXED_NAME
from kaldi_quant.json_file import read_object
from kaldi_quant.units import Bytes

FILE_NAME = "costs.json"
_FORMAT = 1
# Functions that take less of the time are not told.
_LEAST_SHARE = 0.01

#: What inputs are called, and how long free axes of the ONNX file are then; others are as in that of fixed sizes.
Sizes = Mapping[str, Mapping[str, int]]

# A recording and a large batch, as tables of keyword networks have them.
_OF_BATCHES: Sizes = {"1": {"batch": 1}, "256": {"batch": 256}}
# Frames of 10 ms.
_OF_STREAMS: Sizes = {"a frame": {"features.1": 1}, "10 s": {"features.1": 1000}}


@dataclass(frozen=True)
class Costs:
    """Of the cells of one network.

    Args:
        operations: multiply-accumulates for the first of the inputs.
        times: for each size of inputs, by cell.
        memory: likewise, the greatest part of memory that a call needs, weights included.
        shares: of the time of the float network in torch, by function, for the last of the inputs.
    """

    operations: int
    times: dict[str, dict[str, Times]]
    memory: dict[str, dict[str, Bytes | None]]
    shares: dict[str, float]


def sizes_of(network: str) -> Sizes:
    """What a network is measured on: recordings by batches, or streams of frames and whole recordings."""
    return _OF_STREAMS if network == "nsnet2" else _OF_BATCHES


def measure_costs(folders: Sequence[Path], sizes: Sizes) -> Costs:
    """Measures cells.

    Args:
        folders: of cells of one network, in float and quantized, each with its ``network.onnx``.
        sizes: of the inputs.

    Raises:
        DataError: the float network or a quantized one of this project's is missing.
    """
    by_method = {folder.name: folder for folder in folders if (folder / DYNAMIC_NAME).is_file()}
    quantized = {}
    for method, folder in by_method.items():
        found = files.load(folder / ARTEFACT_NAME) if (folder / ARTEFACT_NAME).is_file() else None
        if isinstance(found, Quantized):
            quantized[method] = found
    if FLOAT_METHOD not in by_method or not quantized:
        raise DataError(f"{folders[0].parent}: expected the network in float and quantized, each with {DYNAMIC_NAME}")
    module = _in_torch(next(iter(quantized.values())))
    subjects = {
        method: Subject(
            by_method[method] / DYNAMIC_NAME,
            module if method == FLOAT_METHOD else None,
            quantized.get(method),
        )
        for method in sorted(by_method, key=lambda method: (method != FLOAT_METHOD, method))
    }
    inputs = {name: _inputs(by_method[FLOAT_METHOD], lengths) for name, lengths in sizes.items()}
    sessions = {method: open_session(subject.onnx.read_bytes()) for method, subject in subjects.items()}
    places = [(name, method) for name in inputs for method in subjects]
    calls = [(subjects[method].onnx, onnx_inputs(sessions[method], inputs[name])) for name, method in places]
    peaks = dict(zip(places, peak_memory(calls), strict=True))
    memory = {name: {method: peaks[name, method] for method in subjects} for name in inputs}
    first, last = next(iter(inputs.values())), list(inputs.values())[-1]
    operations = multiply_accumulates(next(iter(quantized.values())).network.host, *first)
    times = {name: measure_times(subjects, given) for name, given in inputs.items()}
    return Costs(sum(operations.values()), times, memory, _shares(module, last))


def write_costs(path: Path, costs: Costs) -> None:
    """Writes ``costs.json``."""
    with atomic_write(path, "w") as stream:
        stream.write(json.dumps({"format": _FORMAT, **asdict(costs)}, indent=1) + "\n")


def read_costs(path: Path) -> Costs:
    """Reads ``costs.json``.

    Raises:
        DataError, FormatError: it is missing or broken.
    """
    found = read_object(path)
    found.expect_format(_FORMAT)
    content: dict[str, Any] = found.content
    times = {
        name: {method: Times(one["seconds"], one["ratio"]) for method, one in of_cells.items()}
        for name, of_cells in content["times"].items()
    }
    return Costs(found.whole("operations"), times, content["memory"], content["shares"])


def _in_torch(quantized: Quantized) -> nn.Module:
    """The float network, normalizations folded; its weights are those of the quantized one, which costs the same."""
    module: nn.Module = quantized.network.dequantized().executable()
    return module


def _inputs(folder: Path, lengths: Mapping[str, int]) -> tuple[Tensor, ...]:
    """Inputs of normally distributed numbers: as the file of fixed sizes has them, but for the axes that are named."""
    torch.manual_seed(0)
    free, fixed = (open_session((folder / name).read_bytes()).get_inputs() for name in (DYNAMIC_NAME, FIXED_NAME))
    shapes = [
        [lengths.get(size, length) for size, length in zip(one.shape, other.shape, strict=True)]
        for one, other in zip(free, fixed, strict=True)
    ]
    return tuple(torch.randn(shape) for shape in shapes)


def _shares(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, float]:
    with torch.no_grad():
        module(*inputs)
        with _unheard(), profile(activities=[ProfilerActivity.CPU]) as found:
            module(*inputs)
    times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    whole = sum(times.values()) or 1
    shares = {name.removeprefix("aten::"): time / whole for name, time in times.items()}
    return dict(sorted(((n, s) for n, s in shares.items() if s >= _LEAST_SHARE), key=lambda each: -each[1]))


@contextmanager
def _unheard() -> Iterator[None]:
    """Drops what C code writes to standard error: PyTorch's profiler says there that it begins and ends."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="ascii") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
