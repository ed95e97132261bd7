"""Walks the graph of a quantized network and writes it as ONNX, with any number of frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from kaldi_quant.backends.onnx.stored_weights import FloatProduct, writer_for
from kaldi_quant.backends.onnx.writer import Dim, GraphWriter, Name, context_metadata
from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import Append, Const, Descriptor, NodeName, Scale, Sum
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode, OutputNode
from kaldi_quant.nnet3.graph import Graph, sources_of
from kaldi_quant.nnet3.ivector_rows import with_ivector_rows
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.onnx_graph.convolution import convolve_heights, multiply_heights, multiply_stored_heights
from kaldi_quant.nnet3.onnx_graph.files import GraphOptions, OnnxNetwork
from kaldi_quant.nnet3.onnx_graph.frames import constant_output, frame_component, product
from kaldi_quant.nnet3.onnx_graph.linear import Output, Piece, convolve, multiply, multiply_stored
from kaldi_quant.nnet3.onnx_graph.stretches import Stretch, TimePlan, is_constant_row, source_of
from kaldi_quant.nnet3.onnx_graph.tracks import Layout, Track, Tracks, check_unsigned, zero_points
from kaldi_quant.nnet3.preparation.linear_components import HEIGHT_TYPES, bias_of, weight_of
from kaldi_quant.nnet3.preparation.nodes import addends
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.nnet3.time_access import NoInput, TimeOffsets
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_sum import term_scale
from kaldi_quant.quant.network import QuantizedNetwork

#: Inputs, outputs and types of a graph as ``GraphWriter.finish`` takes them.
Ends = tuple[dict[Name, tuple[Dim, ...]], dict[Name, tuple[Name, tuple[Dim, ...]]], dict[Name, int]]


def build_graph(network: QuantizedNetwork, options: GraphOptions) -> OnnxNetwork:
    """Writes a quantized network as ONNX.

    Raises:
        ModelError: a part of it has no such form: recurrences, values that depend on where the input ends, ranges found
            anew for each sequence, integers beyond 8 bits but those made of floats; says which.
        MissingDependencyError: onnx is not installed.
    """
    return GraphBuilder(network, options).build()


@dataclass
class GraphBuilder:
    """Writes one graph."""

    network: QuantizedNetwork
    options: GraphOptions
    writer: GraphWriter = field(init=False)
    values: dict[str, list[Track]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.writer = writer_for(self.network.layers.values())
        self.nnet = nnet_of(self.network.dequantized())
        if self.options.ivector_rows:
            self.nnet = with_ivector_rows(self.nnet)
        self.graph: Graph = AcousticModel(self.nnet).graph
        self.plan = self._planned(self._read_by_convolutions())
        self.tracks = Tracks(self.writer, self.options.period, self.options.outputs)

    def _planned(self, whole: set[str]) -> TimePlan:
        return TimePlan(self.graph, self.options.period, whole, self.options.ivector_rows)

    def _read_by_convolutions(self) -> set[str]:
        names = [name for name in self.graph.names if self._reads_heights(name)]
        return {source for name in names for source in sources_of(self.nnet, name)}

    def _reads_heights(self, name: str) -> bool:
        return name in self.nnet.components and self.nnet.components[name].type in HEIGHT_TYPES

    def build(self) -> OnnxNetwork:
        shapes = self._write()
        output, dim = self.values[self.graph.output][0], self.nnet.node_dim(self.graph.output)
        batch, outputs = self._sizes("batch", "outputs", self.options.outputs)
        shape: tuple[Dim, ...] = ("rows", dim) if self.options.flat else (batch, outputs, dim)
        value = self.tracks.flat(output) if self.options.flat else self.tracks.name(output, Layout.ROWS)
        more_shapes, more_outputs, kinds = self._more_ends()
        (stretch,) = self.plan.stretches["input"]
        metadata = context_metadata(self.options.period, -stretch.first, stretch.last)
        model = self.writer.finish(
            "acoustic_model", shapes | more_shapes, {"output": (value, shape)} | more_outputs, metadata, kinds
        )
        return OnnxNetwork(model, -stretch.first, stretch.last, self.options.period)

    def _more_ends(self) -> Ends:
        """Further inputs with their shapes, outputs with values and shapes, and types that are not float32."""
        return {}, {}, {}

    def _write(self) -> dict[str, tuple[Dim, ...]]:
        """Writes all nodes; returns the shapes of the graph's inputs."""
        shapes = self._inputs()
        for group in self.graph.groups:
            name = group.nodes[0]
            if name not in self.values:
                self._node(name)
        return shapes

    def _inputs(self) -> dict[str, tuple[Dim, ...]]:
        self.writer.reserve("output")
        shapes: dict[str, tuple[Dim, ...]] = {}
        outputs = self.options.outputs
        for name in self.graph.inputs:
            self.writer.reserve(name)
            dim = self.nnet.input_dim(name)
            found = self.plan.computed.get(name)
            stretch = found[0] if found else None
            count = None if outputs is None or stretch is None else stretch.length(outputs, self.options.period)
            batch, frames = self._sizes("batch", "frames" if name == "input" else f"{name}.frames", count)
            if stretch is None:
                shapes[name] = (batch, dim)
                row = self.writer.op("Unsqueeze", [name, self.writer.integers(1)], "ivector.row")
                self._settle(name, [Track(None, dim, {Layout.ROWS: row})])
            else:
                shapes[name] = (batch, frames, dim)
                self._settle(name, [Track(stretch, dim, {Layout.ROWS: name})])
        return shapes

    @staticmethod
    def _sizes(batch: str, length: str, fixed: int | None) -> tuple[Dim, Dim]:
        return (batch, length) if fixed is None else (1, fixed)

    def _grid(self, name: str) -> Grid | None:
        grid = self.network.activations.get(name)
        if grid is not None:
            check_unsigned(name, grid)
        return grid

    def _narrow_grid(self, name: str) -> Grid | None:
        """The grid of a node that is computed in integers."""
        grid = self._grid(name)
        if grid is not None and grid.spec.is_wide:
            raise ModelError(f"the node {name} lies on a grid that is not of unsigned integers of at most 8 bits")
        return grid

    def _settle(self, name: str, tracks: list[Track]) -> None:
        """A node's float values, put on its grid where it has one."""
        grid = self._grid(name)
        if grid is not None:
            tracks = [self.tracks.integers(track, grid, f"{name}.integers") for track in tracks]
        self.values[name] = tracks

    def _node(self, name: str) -> None:
        layer = self.network.layers.get(name)
        if isinstance(layer, DynamicLinear):
            raise ModelError(f"the ranges of the layer {name} are found anew for each sequence")
        stretches = self.plan.computed[name]
        if isinstance(layer, IntegerLinear):
            self._layer(name, layer)
        elif layer is not None:
            self._settle(name, _once([self._stored(name, layer, stretch) for stretch in stretches]))
        elif name in self.network.graph.sums and name in self.network.activations:
            self.values[name] = [self._sum(name, stretch) for stretch in stretches]
        else:
            self._settle(name, _once([self._float_node(name, stretch) for stretch in stretches]))

    def _layer(self, name: str, layer: IntegerLinear) -> None:
        destination = self.network.graph.destination(name)
        grid = self._narrow_grid(destination.node) if destination else None
        tracks = []
        for stretch in self.plan.computed[name]:
            pieces = self._pieces(name, stretch)
            times = None if all(piece.track.stretch is None for piece in pieces) else stretch
            if destination is None or grid is None:
                tracks.append(self._multiplied(name, layer, pieces, times))
                continue
            output = Output(destination.node, times, grid, destination.relu)
            tracks.append(self._convolved(name, layer, pieces, output))
        self.values[destination.node if destination and grid else name] = _once(tracks)

    def _stored(self, name: str, layer: FloatProduct, stretch: Stretch) -> Track:
        if self._reads_heights(name):
            source = self.tracks.floats(_only(name, self._pieces(name, stretch)))
            return multiply_stored_heights(self.tracks, layer, self.nnet.components[name], source, name, stretch)
        return multiply_stored(self.tracks, layer, self._float_input(name, stretch), name)

    def _float_input(self, name: str, stretch: Stretch) -> Track:
        """The columns of a layer's input in float."""
        node, access = self.graph.node(name), self.graph.access(name)
        assert isinstance(node, ComponentNode)
        if not isinstance(access, TimeOffsets):
            return self._float(node.input, stretch)
        parts = [self._float(node.input, stretch.shifted(offset)) for offset in access.offsets]
        return replace(self.tracks.beside(parts, name), stretch=stretch)

    def _convolved(self, name: str, layer: IntegerLinear, pieces: list[Piece], output: Output) -> Track:
        component, options = self.nnet.components[name], self.options
        if not self._reads_heights(name):
            return convolve(self.tracks, layer, pieces, output, options.form, options.align)
        return convolve_heights(self.tracks, layer, component, _only(name, pieces), output, options.form)

    def _multiplied(self, name: str, layer: IntegerLinear, pieces: list[Piece], stretch: Stretch | None) -> Track:
        component, form = self.nnet.components[name], self.options.form
        if stretch is None or not self._reads_heights(name):
            return multiply(self.tracks, layer, pieces, name, stretch, form)
        return multiply_heights(self.tracks, layer, component, _only(name, pieces), name, stretch, form)

    def _pieces(self, name: str, stretch: Stretch) -> list[Piece]:
        """The columns of a layer's input: for each time offset the parts of its descriptor."""
        node = self.graph.node(name)
        assert isinstance(node, ComponentNode)
        access = self.graph.access(name)
        offsets: tuple[int, ...] = (0,)
        if isinstance(access, TimeOffsets) and not self._reads_heights(name):
            offsets = access.offsets
        return [piece for offset in offsets for piece in self._parts(node.input, stretch.shifted(offset))]

    def _parts(self, descriptor: Descriptor, stretch: Stretch) -> list[Piece]:
        descriptor, stretch = source_of(descriptor, stretch)
        match descriptor:
            case Append(parts):
                return [piece for part in parts for piece in self._parts(part, stretch)]
            case NodeName(node):
                return [Piece(self._find(node, stretch), stretch)]
        if is_constant_row(descriptor):
            return [Piece(self.values["ivector"][0], None)]
        raise ModelError(f"{descriptor} is not made of nodes side by side")

    def _find(self, node: str, stretch: Stretch) -> Track:
        """The track of a node that holds a stretch; for a convolution's input, the one that holds its first time."""
        found = self.values[node]
        holding = [track for track in found if track.stretch is None or track.stretch.contains(stretch)]
        return (holding or found)[0]

    def _sum(self, name: str, stretch: Stretch) -> Track:
        node, terms = self.graph.node(name), self.network.graph.sums[name]
        assert isinstance(node, ComponentNode)
        tracks = []
        for _, descriptor in addends(node.input) or ():
            source, times = source_of(descriptor, stretch)
            assert isinstance(source, NodeName)
            tracks.append(self.tracks.rows(self._find(source.node, times), times))
        if len({track.padding for track in tracks}) > 1:
            tracks = [self.tracks.without_padding(track) for track in tracks]
        layout, writer, grid = tracks[0].layout, self.writer, self._narrow_grid(name)
        floats = []
        for term, track in zip(terms, tracks, strict=True):
            below = self._narrow_grid(term.node)
            assert below is not None
            constants = [writer.constant(term_scale(below, term.coefficient).numpy())]
            constants.append(writer.constant(zero_points(below)))
            source_name = self.tracks.name(track, layout)
            floats.append(writer.op("DequantizeLinear", [source_name, *constants], f"{source_name}.term"))
        total = floats[0]
        for other in floats[1:]:
            total = writer.op("Add", [total, other], f"{name}.sum")
        assert grid is not None
        value = Output(name, stretch, grid, relu=False).quantized(self.tracks, total)
        return Track(stretch, tracks[0].dim, {layout: value}, grid, tracks[0].padding)

    def _float_node(self, name: str, stretch: Stretch) -> Track:
        node = self.graph.node(name)
        if isinstance(node, DimRangeNode):
            source = self._float(NodeName(node.input_node), stretch)
            return self.tracks.columns(source, node.dim_offset, node.dim)
        if isinstance(node, OutputNode):
            return self._float(node.input, stretch)
        assert isinstance(node, ComponentNode)
        component = self.nnet.components[name]
        access = self.graph.access(name)
        dim = self.nnet.node_dim(name)
        if isinstance(access, NoInput):
            return self.tracks.constant_row(constant_output(component))
        if isinstance(access, TimeOffsets):
            if component.type != "TdnnComponent":
                raise ModelError(f"the node {name} is a {component.type}, which has no ONNX form in float")
            source = self._float_input(name, stretch)
            x = self.tracks.name(source, Layout.ROWS)
            result = product(self.writer, x, weight_of(component), bias_of(component))
        else:
            source = self._float(node.input, stretch)
            result = frame_component(self.writer, name, component, self.tracks.name(source, Layout.ROWS))
        return Track(source.stretch, dim, {Layout.ROWS: result})

    def _float(self, descriptor: Descriptor, stretch: Stretch) -> Track:
        """A descriptor's values in float at the times of a stretch."""
        track = self._float_value(*source_of(descriptor, stretch))
        return track if track.stretch is None else replace(track, stretch=stretch)

    def _float_value(self, descriptor: Descriptor, stretch: Stretch) -> Track:
        match descriptor:
            case NodeName(node):
                return self.tracks.floats(self.tracks.rows(self._find(node, stretch), stretch))
            case Const(value, size):
                return self.tracks.constant_row(np.full(size, value, np.float32))
            case Append(parts):
                return self.tracks.beside([self._float(part, stretch) for part in parts], "append")
            case Scale(source, scale):
                return self._arithmetic("Mul", [self._float(source, stretch)], np.float32(scale))
            case Sum(parts):
                return self._arithmetic("Add", [self._float(part, stretch) for part in parts])
        if is_constant_row(descriptor):
            return self.tracks.floats(self.values["ivector"][0])
        raise ModelError(f"{descriptor} has no ONNX form with any number of frames")

    def _arithmetic(self, kind: str, tracks: list[Track], constant: np.float32 | None = None) -> Track:
        names = [self.tracks.name(track, Layout.ROWS) for track in tracks]
        if constant is not None:
            names.append(self.writer.constant(constant))
        total = names[0]
        for name in names[1:]:
            total = self.writer.op(kind, [total, name])
        stretch = next((track.stretch for track in tracks if track.stretch is not None), None)
        return Track(stretch, tracks[0].dim, {Layout.ROWS: total})


def _only(name: str, pieces: list[Piece]) -> Track:
    if len(pieces) != 1:
        raise ModelError(f"the convolution {name} reads several nodes side by side")
    return pieces[0].track


def _once(tracks: list[Track]) -> list[Track]:
    """One row that stands for all times is the same for every stretch."""
    return tracks[:1] if tracks[0].stretch is None else tracks
