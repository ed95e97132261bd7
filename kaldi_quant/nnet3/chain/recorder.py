"""Functions of tensors that are recorded once for each shape and then replayed, as CUDA graphs.

A GPU is told thousands of small operations by one call, where starting them one after the other takes much longer than
they do. What is recorded may wait for nothing, and is a function of its inputs' content alone.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

_log = logging.getLogger(__name__)

First = TypeVar("First")
Second = TypeVar("Second")
# Tensors, and None where there is none.
Tensors = Sequence[Any]
Function = Callable[[Tensors], Tensors]
# Given a function and its inputs, returns what computes the outputs anew from what the inputs then hold, and these.
Record = Callable[[Function, Tensors], tuple[Callable[[], None], Tensors]]

# Minibatches have few lengths, one number of sequences but at the end of an archive, and sizes that are rounded up.
_MOST = 16


@dataclass
class _Recording:
    inputs: Tensors
    outputs: Tensors
    replay: Callable[[], None]

    def run(self, inputs: Tensors) -> Tensors:
        for own, given in zip(self.inputs, inputs, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        self.replay()
        # Copies: the next replay writes to the same places.
        return [None if value is None else value.clone() for value in self.outputs]


class Recorder:
    """Runs functions, and records those that it is given again.

    Args:
        record: how; None where nothing can be recorded, and functions are only run.
    """

    def __init__(self, record: Record | None) -> None:
        self._record = record
        # What was seen, the latest last; None for what was seen once.
        self._known: OrderedDict[Hashable, _Recording | None] = OrderedDict()

    @classmethod
    def of(cls, device: torch.device) -> Recorder:
        """What a device can do."""
        return cls(CudaGraphs(device) if device.type == "cuda" and torch.cuda.is_available() else None)

    def run(self, name: Hashable, function: Function, inputs: Tensors) -> Tensors:
        """What a function gives.

        Args:
            name: of what it does: functions of one name do the same with inputs of the same shapes.
            function: of the inputs; it may neither wait for a GPU nor keep anything.
            inputs: on one device.
        """
        if self._record is None:
            return function(list(inputs))
        key = (name, *(None if value is None else (value.shape, value.dtype) for value in inputs))
        if key not in self._known:
            # What comes but once is not worth it; and libraries make ready here what cannot be recorded.
            self._remember(key, None)
            return function(list(inputs))
        recording = self._known[key] or self._recorded(function, inputs)
        if recording is None:
            return function(list(inputs))
        self._remember(key, recording)
        return recording.run(inputs)

    def _remember(self, key: Hashable, recording: _Recording | None) -> None:
        self._known[key] = recording
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def _recorded(self, function: Function, inputs: Tensors) -> _Recording | None:
        assert self._record is not None
        own = [None if value is None else value.detach().clone() for value in inputs]
        try:
            replay, outputs = self._record(function, own)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            _log.warning("the objective cannot be recorded as a CUDA graph and is computed step by step: %s", reason)
            self._record = None
            return None
        return _Recording(own, outputs, replay)


class CudaGraphs:
    """Records CUDA graphs, which share memory for what is between inputs and outputs: one is replayed at a time.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        graph = torch.cuda.CUDAGraph()
        # Other threads, which read examples or serve a group of processes, may go on.
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
        ):
            outputs = function(inputs)
        return graph.replay, outputs


def side_by_side(
    device: torch.device, first: Callable[[], First], second: Callable[[], Second]
) -> tuple[First, Second]:
    """What two functions give, which do not depend on each other: in a recording they are replayed at the same time."""
    if not (device.type == "cuda" and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()):
        return first(), second()
    stream, other = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    other.wait_stream(stream)
    with torch.cuda.stream(other):
        one = first()
    two = second()
    stream.wait_stream(other)
    return one, two
