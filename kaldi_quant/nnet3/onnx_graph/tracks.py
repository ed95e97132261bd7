"""Values over time in an ONNX graph: rows and columns chosen, put side by side, taken from integers to floats.

A convolution over time wants time last, everything else wants columns last; a transposed copy is made where it is
wanted, and onnxruntime takes the copies between its integer convolutions out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from kaldi_quant.backends.onnx.writer import FLOAT, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.onnx_graph.stretches import Stretch
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import LARGEST_BYTE

#: Where a slice ends that keeps everything.
END = 2**62


class Layout(Enum):
    """The order of axes; its value is (the time axis, the column axis)."""

    ROWS = (1, 2)
    CHANNELS = (2, 1)

    @property
    def time(self) -> int:
        """The time axis."""
        return self.value[0]

    @property
    def columns(self) -> int:
        """The column axis."""
        return self.value[1]


@dataclass
class Track:
    """A value over a stretch of time: float, or integers on a grid, 8-bit ones or, of wider grids, in floats.

    Args:
        stretch: the times; None for one row that stands for all times.
        dim: columns.
        names: of its copies in the graph, by layout.
        grid: that of the integers; None for floats.
        padding: columns of no meaning after the others.
        flat: its rows without a batch axis, (batch * time, columns), where only these are there yet; and a value whose
            batch and time are its own.
    """

    stretch: Stretch | None
    dim: int
    names: dict[Layout, Name]
    grid: Grid | None = None
    padding: int = 0
    flat: tuple[Name, Name] | None = None

    @property
    def layout(self) -> Layout:
        """One that is there already."""
        return next(iter(self.names), Layout.ROWS)


@dataclass
class Tracks:
    """What can be done to tracks.

    Args:
        writer: the graph.
        period: frames between outputs.
        outputs: how many there are of one sequence, where that is fixed; None for any number of any.
    """

    writer: GraphWriter
    period: int = 1
    outputs: int | None = None
    _cut: dict[tuple, Track] = field(default_factory=dict)

    def name(self, track: Track, layout: Layout) -> Name:
        """The name of a track's value in a layout."""
        if not track.names:
            track.names[Layout.ROWS] = self._unflattened(track)
        if layout not in track.names:
            source = track.names[track.layout]
            track.names[layout] = self.writer.op("Transpose", [source], f"{source}.transposed", perm=[0, 2, 1])
        return track.names[layout]

    def _unflattened(self, track: Track) -> Name:
        assert track.flat is not None
        flat, like = track.flat
        writer = self.writer
        if self.outputs is not None:
            length = track.stretch.length(self.outputs, self.period) if track.stretch else 1
            return writer.op("Reshape", [flat, writer.integers(1, length, track.dim)], f"{flat}.rows")
        batch_and_time = writer.op("Slice", [writer.op("Shape", [like]), writer.integers(0), writer.integers(2)])
        shape = writer.op("Concat", [batch_and_time, writer.integers(track.dim)], axis=0)
        return writer.op("Reshape", [flat, shape], f"{flat}.rows")

    def flat(self, track: Track) -> Name:
        """A track without its batch axis: (batch * time, columns)."""
        if track.flat is not None:
            return track.flat[0]
        return self.writer.op("Reshape", [self.name(track, Layout.ROWS), self.writer.integers(-1, track.dim)])

    def rows(self, track: Track, stretch: Stretch) -> Track:
        """The rows of a stretch within the track's own."""
        if track.stretch is None or track.stretch == stretch:
            return track
        assert track.stretch.contains(stretch)
        begin = (stretch.first - track.stretch.first) // track.stretch.step
        left = (track.stretch.last - stretch.last) // track.stretch.step
        return self._sliced(track, track.layout.time, begin, -left or END, stretch.step // track.stretch.step, stretch)

    def without_padding(self, track: Track) -> Track:
        """The columns that mean something."""
        return self.columns(track, 0, track.dim) if track.padding else track

    def columns(self, track: Track, first: int, dim: int) -> Track:
        """A range of columns."""
        if (first, dim, track.padding) == (0, track.dim, 0):
            return track
        cut = self._sliced(track, track.layout.columns, first, first + dim, 1, track.stretch)
        cut.dim, cut.padding = dim, 0
        return cut

    def _sliced(self, track: Track, axis: int, begin: int, end: int, step: int, stretch: Stretch | None) -> Track:
        layout = track.layout
        source = self.name(track, layout)
        key = (source, axis, begin, end, step)
        if key not in self._cut:
            bounds = [self.writer.integers(value) for value in (begin, end, axis, step)]
            name = self.writer.op("Slice", [source, *bounds], f"{source}.cut")
            self._cut[key] = Track(stretch, track.dim, {layout: name}, track.grid, track.padding)
        found = self._cut[key]
        return Track(found.stretch, found.dim, found.names, found.grid, found.padding)

    def beside(self, tracks: Sequence[Track], hint: Name) -> Track:
        """Tracks of one kind and stretch side by side; one row for all times is repeated."""
        if len(tracks) == 1:
            return tracks[0]
        tracks = [self.without_padding(track) for track in tracks]
        moving = next((track for track in tracks if track.stretch is not None), tracks[0])
        tracks = [self._repeated(track, moving) for track in tracks]
        layout = moving.layout
        names = [self.name(track, layout) for track in tracks]
        name = self.writer.op("Concat", names, f"{hint}.spliced", axis=layout.columns)
        return Track(moving.stretch, sum(track.dim for track in tracks), {layout: name}, moving.grid)

    def _repeated(self, track: Track, like: Track) -> Track:
        if track.stretch is not None or like.stretch is None:
            return track
        writer, name = self.writer, self.name(track, Layout.ROWS)
        if self.outputs is not None:
            sizes = writer.integers(1, like.stretch.length(self.outputs, self.period), 1)
        else:
            shape = writer.op("Shape", [self.name(like, like.layout)])
            length = writer.op("Gather", [shape, writer.integers(like.layout.time)], axis=0)
            sizes = writer.op("Concat", [writer.integers(1), length, writer.integers(1)], axis=0)
        repeated = writer.op("Expand", [name, sizes], f"{name}.repeated")
        return Track(like.stretch, track.dim, {Layout.ROWS: repeated}, track.grid)

    def constant_row(self, row: np.ndarray) -> Track:
        """A row for all times, (dim,) float32."""
        writer, value = self.writer, self.writer.constant(row.reshape(1, 1, -1))
        if self.outputs is None:
            batch = writer.op("Gather", [writer.op("Shape", ["input"]), writer.integers(0)], axis=0)
            sizes = writer.op("Concat", [batch, writer.integers(1, 1)], axis=0)
            value = writer.op("Expand", [value, sizes])
        return Track(None, len(row), {Layout.ROWS: value})

    def floats(self, track: Track) -> Track:
        """The values of integers."""
        if track.grid is None:
            return track
        grid, track = track.grid, self.without_padding(track)
        layout = track.layout
        source = self.name(track, layout)
        if grid.spec.is_wide:
            scales, zeros = (self.writer.constant(row) for row in _rows(grid, layout))
            steps = self.writer.op("Sub", [source, zeros])
            return Track(track.stretch, track.dim, {layout: self.writer.op("Mul", [steps, scales], f"{source}.float")})
        constants = [self.writer.constant(grid.scale.numpy()), self.writer.constant(zero_points(grid))]
        axis = {"axis": layout.columns} if grid.scale.dim() else {}
        name = self.writer.op("DequantizeLinear", [source, *constants], f"{source}.float", **axis)
        return Track(track.stretch, track.dim, {layout: name})

    def integers(self, track: Track, grid: Grid, hint: Name) -> Track:
        """A float track on a grid. Scales that differ between columns are divided by first: that is much faster.

        Integers of more than 8 bits remain floats, which hold them exactly.
        """
        layout, writer = track.layout, self.writer
        source = self.name(track, layout)
        if grid.scale.dim() or grid.spec.is_wide:
            scales, zeros = (writer.constant(row) for row in _rows(grid, layout))
            rounded = writer.op("Round", [writer.op("Div", [source, scales])])
            source = writer.op("Add", [rounded, zeros])
            if grid.spec.is_wide:
                bounds = [writer.constant(np.float32(value)) for value in (0, grid.spec.qmax)]
                return Track(track.stretch, track.dim, {layout: writer.op("Clip", [source, *bounds], hint)}, grid)
            constants = [writer.constant(np.float32(1)), writer.constant(np.uint8(0))]
        else:
            constants = [writer.constant(grid.scale.numpy()), writer.constant(zero_points(grid))]
        name = writer.op("QuantizeLinear", [source, *constants], hint)
        return Track(track.stretch, track.dim, {layout: self.clipped(name, grid)}, grid)

    def in_floats(self, track: Track) -> Track:
        """The integers themselves in floats, as those of wide grids are."""
        assert track.grid is not None
        if track.grid.spec.is_wide:
            return track
        track = self.without_padding(track)
        source = self.name(track, track.layout)
        name = self.writer.op("Cast", [source], f"{source}.steps", to=FLOAT)
        return Track(track.stretch, track.dim, {track.layout: name}, track.grid)

    def clipped(self, name: Name, grid: Grid, least: int = 0) -> Name:
        """8-bit integers within a narrower grid, from ``least`` up."""
        if least == 0 and grid.spec.qmax == LARGEST_BYTE:
            return name
        bounds = [self.writer.constant(np.uint8(value)) for value in (least, grid.spec.qmax)]
        return self.writer.op("Clip", [name, *bounds], f"{name}.clipped")


def _rows(grid: Grid, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The scales and zero points of columns, float32, to be combined with values in a layout."""
    shape = (-1, 1) if layout is Layout.CHANNELS else (-1,)
    return grid.scale.numpy().reshape(shape), grid.zero_point.float().numpy().reshape(shape)


def check_unsigned(name: Name, grid: Grid) -> None:
    """Refuses a grid with a sign, which the kernels' inputs have not.

    Raises:
        ModelError: it has one; names the node that lies on it.
    """
    if grid.spec.signed:
        raise ModelError(f"the node {name} lies on a grid that is not of unsigned integers")


def zero_points(grid: Grid) -> np.ndarray:
    """uint8, shaped like the scale."""
    return grid.zero_point.numpy().astype(np.uint8)
