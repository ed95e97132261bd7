"""How long networks take, each by all that can run it, in one run: float and integers take turns on one thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.api.quantization import Quantized, compile
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.speed import Runner, measure, one_thread
from kaldi_quant.units import Seconds

TORCH, ONNXRUNTIME, KERNELS = "torch", "onnxruntime", "kernels"
_ROUNDS = 5
_LEAST_SECONDS: Seconds = 0.03


@dataclass(frozen=True)
class Subject:
    """What is measured of one network in one form.

    Args:
        onnx: its file.
        module: it in torch, of a float network.
        quantized: it in integers, where compiled kernels can run it.
    """

    onnx: Path
    module: nn.Module | None = None
    quantized: Quantized | None = None


@dataclass(frozen=True)
class Times:
    """Of one subject.

    Args:
        seconds: by what runs it, the median time of a call.
        ratio: how many times faster its fastest is than the fastest of the float network.
    """

    seconds: Mapping[str, Seconds]
    ratio: float


def measure_times(subjects: Mapping[str, Subject], inputs: Sequence[Tensor], rounds: int = _ROUNDS) -> dict[str, Times]:
    """Measures subjects on the same inputs.

    Args:
        subjects: by name; the first is the float network.
        inputs: of a call.
        rounds: each runs so often; the result is the median.
    """
    runners: dict[tuple[str, str], Runner] = {}
    for name, subject in subjects.items():
        engines = {(name, engine): run for engine, run in _engines(subject, inputs).items()}
        with one_thread(), torch.inference_mode():
            runners.update({key: _often(run) for key, run in engines.items()})
    with one_thread(), torch.inference_mode():
        speeds = measure({f"{name}\n{engine}": run for (name, engine), run in runners.items()}, rounds)
    seconds: dict[str, dict[str, Seconds]] = {name: {} for name in subjects}
    for name, engine in runners:
        seconds[name][engine] = 1 / speeds[f"{name}\n{engine}"].frames_per_second
    best = min(seconds[next(iter(subjects))].values())
    return {name: Times(found, best / min(found.values())) for name, found in seconds.items()}


def onnx_inputs(session: object, inputs: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Inputs by the names that an onnxruntime session has for them."""
    names = [each.name for each in session.get_inputs()]  # type: ignore[attr-defined]
    return {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}


def _often(run: Callable[[], object]) -> Runner:
    """Calls, so many in a row as take a while: what another network has put into caches is gone after the first."""
    run()
    begin = time.perf_counter()
    run()
    times = max(1, math.ceil(_LEAST_SECONDS / (time.perf_counter() - begin)))

    def runner() -> int:
        for _ in range(times):
            run()
        return times

    return runner


def _engines(subject: Subject, inputs: Sequence[Tensor]) -> dict[str, Callable[[], object]]:
    session = open_session(subject.onnx.read_bytes())
    given = onnx_inputs(session, inputs)
    found: dict[str, Callable[[], object]] = {ONNXRUNTIME: lambda: session.run(None, given)}
    if subject.module is not None:
        found[TORCH] = partial(subject.module.eval(), *inputs)
    if subject.quantized is not None:
        compiled = compile(subject.quantized)
        if compiled.on_kernels:  # type: ignore[attr-defined]
            # Once more: the second call of a size is recorded.
            compiled(*inputs)
            found[KERNELS] = partial(compiled, *inputs)
    return found
