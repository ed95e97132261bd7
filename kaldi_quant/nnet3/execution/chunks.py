"""Chunks of streams on onnxruntime: one graph for all chunks, which carries what later ones need again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from kaldi_quant.backends.onnx.parameters import WeightForm
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.context import Context
from kaldi_quant.nnet3.onnx_graph.chunk import build_chunk
from kaldi_quant.nnet3.onnx_graph.files import GraphOptions
from kaldi_quant.nnet3.preparation.prepared import prepare
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.units import Frames

# As in ``network``: the kernels like columns in fours.
_ALIGN = 4


def in_float(nnet: Nnet) -> QuantizedNetwork:
    """A network with all its layers in float, normalizations folded into them where they can be.

    Raises:
        ModelError: it cannot be prepared, or has no layers.
    """
    host = prepare(nnet).complete()
    return QuantizedNetwork(host, {}, {}, dict.fromkeys(products(host.nodes), "the network is in float"))


@dataclass
class ChunkStates:
    """What an utterance has computed so far.

    Attributes:
        chunks: that are computed.
        values: what the next one is given, by input of the graph.
    """

    chunks: int = 0
    values: dict[str, np.ndarray] = field(default_factory=dict)


class OnnxruntimeChunks:
    """A network whose utterances are computed chunk by chunk on onnxruntime.

    Args:
        network: quantized, or with all layers in float.
        context: of an output frame.
        period: frames between outputs.
        frames_per_chunk: a multiple of ``period`` and of the network's modulus.
        form: how weights are stored, which depends on the processor (``trusted_form``).
        carried: whether what chunks need again is kept; else each chunk computes its whole context.

    Attributes:
        first_read: the earliest time at which a chunk asks for features or i-vectors, counted from its first frame.

    Raises:
        ModelError: a part of the network has no such form: recurrences, values that depend on where the input ends;
            says which.
        MissingDependencyError: onnx or onnxruntime is not installed.
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        context: Context,
        period: Frames,
        frames_per_chunk: Frames,
        form: WeightForm = "exact",
        carried: bool = True,
    ) -> None:
        options = GraphOptions(period, form, _ALIGN, True, frames_per_chunk // period, ivector_rows=True)
        graph = build_chunk(network, options, carried)
        self._session = open_session(graph.network.model, threads=torch.get_num_threads())
        # The graph itself, with all weights, is the session's alone.
        self._states, self._times = graph.states, graph.times
        self._each = frames_per_chunk
        self._wanted = ["output", *(state.kept for state in self._states)]
        # Before the first output all that the first chunk needs has to be in the states: so many chunks come before it,
        # of copies of the first frame, and what they compute of nothing goes out again.
        first = int(self._times["input"][0])
        self._before = -(-(context.left + first) // frames_per_chunk) if self._states else 0
        earliest = min(int(times[0]) for times in self._times.values())
        self.first_read = earliest - self._before * frames_per_chunk

    def begin(self) -> ChunkStates:
        """An utterance before its first chunk."""
        return ChunkStates(0, {state.given: state.before() for state in self._states})

    def chunk(self, state: ChunkStates, rows: Callable[[str, Times], np.ndarray]) -> np.ndarray:
        """Computes the next chunk: (outputs, output dim) float32.

        Args:
            state: of the utterance; goes on to the next chunk.
            rows: gives rows of the inputs ``input`` and ``ivector`` at times from the chunk's first frame on.
        """
        for number in range(self._before if state.chunks == 0 else 0, 0, -1):
            self._run(state, rows, -number * self._each)
        state.chunks += 1
        return self._run(state, rows, 0)

    def _run(self, state: ChunkStates, rows: Callable[[str, Times], np.ndarray], shift: Frames) -> np.ndarray:
        inputs = {name: np.ascontiguousarray(rows(name, times + shift)[None]) for name, times in self._times.items()}
        output, *kept = self._session.run(self._wanted, inputs | state.values)
        state.values = {each.given: value for each, value in zip(self._states, kept, strict=True)}
        return np.asarray(output)
