"""Graphs that compute one chunk of a stream, and keep for the next one what that needs again.

What later chunks read of a node are the last rows that this one has. They are outputs of the graph, and inputs of the
next call, as they are: bytes where the node lies on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kaldi_quant.backends.onnx.writer import FLOAT, UINT8, Dim, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.onnx_graph.builder import Ends, GraphBuilder
from kaldi_quant.nnet3.onnx_graph.files import GraphOptions, OnnxNetwork
from kaldi_quant.nnet3.onnx_graph.stretches import ChunkPlan, Stretch, TimePlan
from kaldi_quant.nnet3.onnx_graph.tracks import END, Layout, Track
from kaldi_quant.quant.network import QuantizedNetwork


@dataclass(frozen=True)
class ChunkState:
    """What goes from chunk to chunk.

    Args:
        given: the input that takes it.
        kept: the output that gives it.
        shape: of both.
        kind: FLOAT or UINT8.
    """

    given: Name
    kept: Name
    shape: tuple[int, ...]
    kind: int

    def before(self) -> np.ndarray:
        """What there is before an utterance begins: anything, since it goes out before the first output."""
        return np.zeros(self.shape, np.uint8 if self.kind == UINT8 else np.float32)


@dataclass(frozen=True)
class ChunkGraph:
    """A graph for one chunk.

    Args:
        network: the graph. Beside ``input`` and ``ivector``, (1, frames, dim), and ``output`` it has the states.
        times: by input the frames that a chunk gives, counted from its first output frame.
        states: what goes from chunk to chunk.
    """

    network: OnnxNetwork
    times: dict[Name, np.ndarray]
    states: list[ChunkState]


def build_chunk(network: QuantizedNetwork, options: GraphOptions, carried: bool = True) -> ChunkGraph:
    """Writes a network for the chunks of a stream.

    Args:
        network: quantized, or with all layers in float.
        options: how; ``outputs`` is how many there are in a chunk.
        carried: whether what chunks need again is kept; else each chunk reads its whole context.

    Raises:
        ModelError: a part of the network has no such form (as ``build_graph``).
        MissingDependencyError: onnx is not installed.
    """
    assert options.outputs is not None and options.ivector_rows
    builder = _ChunkBuilder(network, options) if carried else GraphBuilder(network, options)
    built = builder.build()
    times = {
        name: stretch.first + stretch.step * np.arange(stretch.length(options.outputs, options.period))
        for name in builder.graph.inputs
        for stretch in builder.plan.computed[name]
    }
    return ChunkGraph(built, times, builder.states if isinstance(builder, _ChunkBuilder) else [])


@dataclass
class _ChunkBuilder(GraphBuilder):
    states: list[ChunkState] = field(default_factory=list)
    _whole: set[str] = field(default_factory=set)
    _kept: dict[Name, Name] = field(default_factory=dict)

    def _planned(self, whole: set[str]) -> TimePlan:
        return ChunkPlan(self.graph, self.options.period, whole, self.options.ivector_rows)

    def _inputs(self) -> dict[str, tuple[Dim, ...]]:
        shapes = super()._inputs()
        self._complete()
        return shapes

    def _node(self, name: str) -> None:
        super()._node(name)
        self._complete()

    def _complete(self) -> None:
        """Puts what earlier chunks have of nodes before what this one computes."""
        for name in [name for name in self.values if name not in self._whole]:
            self._whole.add(name)
            self.values[name] = [
                track if track.stretch is None else self._with_state(name, track, stretch, number)
                for number, (track, stretch) in enumerate(zip(self.values[name], self._wanted(name), strict=False))
            ]

    def _wanted(self, name: str) -> tuple[Stretch, ...]:
        return self.plan.stretches.get(name, (Stretch(0, 1, 0),))

    def _with_state(self, name: str, track: Track, wanted: Stretch, number: int) -> Track:
        computed = self.plan.computed[name][number]
        if track.stretch != computed:
            raise ModelError(f"the node {name} is computed at other times than it is needed at")
        outputs, period = self.options.outputs, self.options.period
        assert outputs is not None
        rows = wanted.length(outputs, period) - computed.length(outputs, period)
        if rows == 0:
            return track
        # A value without batch axis becomes rows here.
        value = self.tracks.name(track, track.layout)
        layout, columns = track.layout, track.dim + track.padding
        given, kept = (self.writer.new_name(f"{name}.{kind}.{number}") for kind in ("state", "kept"))
        whole = self.writer.op("Concat", [given, value], f"{name}.whole", axis=layout.time)
        bounds = [self.writer.integers(bound) for bound in (-rows, END, layout.time)]
        self._kept[kept] = self.writer.op("Slice", [whole, *bounds], f"{name}.last")
        shape = (1, rows, columns) if layout is Layout.ROWS else (1, columns, rows)
        kind = UINT8 if track.grid is not None and not track.grid.spec.is_wide else FLOAT
        self.states.append(ChunkState(given, kept, shape, kind))
        return Track(wanted, track.dim, {layout: whole}, track.grid, track.padding)

    def _more_ends(self) -> Ends:
        shapes: dict[Name, tuple[Dim, ...]] = {state.given: state.shape for state in self.states}
        outputs: dict[Name, tuple[Name, tuple[Dim, ...]]] = {
            state.kept: (self._kept[state.kept], state.shape) for state in self.states
        }
        kinds = {name: state.kind for state in self.states for name in (state.given, state.kept)}
        return shapes, outputs, kinds
