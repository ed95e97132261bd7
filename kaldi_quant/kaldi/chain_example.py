"""NnetChainExample: features and what is known of their frames, for training a chain model.

Source: ``src/nnet3/nnet-chain-example.cc`` and ``NnetIo`` in ``src/nnet3/nnet-example.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.general_matrix import GeneralMatrix
from kaldi_quant.kaldi.index_vector import read_index_vector, write_index_vector
from kaldi_quant.kaldi.reader import BinaryReader, Reader
from kaldi_quant.kaldi.writer import BinaryWriter, Writer
from kaldi_quant.units import Frames

# Kaldi's own limit on inputs and outputs of an example.
_MOST_PARTS = 1_000_000
# i-vectors stay at time 0 when an example is shifted.
NOT_SHIFTED = ("ivector",)
_N, _T, _X = range(3)


@dataclass
class NnetIo:
    """An input of the network.

    Args:
        name: the input node.
        indexes: (rows, 3) int32: sequence n, time t and x of each row.
        features: (rows, dim).
    """

    name: str
    indexes: np.ndarray
    features: GeneralMatrix

    @classmethod
    def read(cls, reader: Reader) -> NnetIo:
        """Reads an input.

        Raises:
            FormatError: the file holds something else, or ends too early.
        """
        reader.expect("<NnetIo>")
        name = reader.token()
        indexes = read_index_vector(reader)
        begin = reader.position
        features = GeneralMatrix.read(reader)
        if features.shape[0] != len(indexes) or not len(indexes):
            reader.fail(f"{name} has {features.shape[0]} rows of features for {len(indexes)} indexes", begin)
        reader.expect("</NnetIo>")
        return cls(name, indexes, features)

    def write(self, writer: Writer) -> None:
        """Writes the input."""
        writer.token("<NnetIo>")
        writer.token(self.name)
        write_index_vector(writer, self.indexes)
        self.features.write(writer)
        writer.token("</NnetIo>")

    def layout(self) -> InputLayout:
        """How the rows are shared out.

        Raises:
            DataError: the sequences are not of one length, or leave out frames.
        """
        # As a rule they are in order already.
        layout = InputLayout.ordered(self.indexes, int(self.indexes[-1, _N]) + 1, None)
        if layout is None:
            order = np.lexsort((self.indexes[:, _T], self.indexes[:, _N]))
            layout = InputLayout.ordered(self.indexes[order], len(np.unique(self.indexes[:, _N])), order)
        if layout is None:
            raise DataError(f"the input {self.name} does not hold the same successive frames of each sequence")
        return layout

    def by_sequence(self, layout: InputLayout | None = None) -> np.ndarray:
        """The features of each sequence: (sequences, frames, dim) float32, of which the caller may make what he likes.

        Args:
            layout: of this input, where it is known.

        Raises:
            DataError: as ``layout``.
        """
        layout, values = layout or self.layout(), self.features.dense()
        values = values.copy() if layout.order is None else values[layout.order]
        return values.reshape(layout.sequences, layout.frames, -1)


@dataclass(frozen=True)
class InputLayout:
    """How the rows of an input are shared out among sequences.

    Args:
        first: the first time, of all sequences.
        sequences: their number.
        frames: the successive frames that each has.
        order: (rows,) int64, the rows by sequence and time; None where they are in that order.
    """

    first: int
    sequences: int
    frames: int
    order: np.ndarray | None

    @classmethod
    def ordered(cls, indexes: np.ndarray, sequences: int, order: np.ndarray | None) -> InputLayout | None:
        """The layout of rows by sequence and time; None where they are not so.

        Args:
            indexes: (rows, 3) int32.
            sequences: their number.
            order: in which the input has these rows.
        """
        frames, rest = divmod(len(indexes), sequences) if 0 < sequences <= len(indexes) else (0, 1)
        if rest:
            return None
        rows = indexes.reshape(sequences, frames, 3)
        first = int(indexes[0, _T])
        fits = (
            np.array_equal(rows[..., _N], np.broadcast_to(np.arange(sequences)[:, None], rows.shape[:2]))
            and np.array_equal(rows[..., _T], np.broadcast_to(first + np.arange(frames), rows.shape[:2]))
            and not rows[..., _X].any()
        )
        return cls(first, sequences, frames, order) if fits else None


@dataclass
class NnetChainSupervision:
    """What the output of the network is trained towards.

    Args:
        name: the output node.
        indexes: (sequences * frames, 3) int32: all sequences at the first time, then all at the second, and so on.
        supervision: the permitted sequences of pdfs.
        deriv_weights: (sequences * frames,) float32 or float64, which scale the derivative of each row; (0,) for ones.
        deriv_weights_token: how the file names them: ``<DW2>``, in old files ``<DW>``, or empty where it has none.
    """

    name: str
    indexes: np.ndarray
    supervision: Supervision
    deriv_weights: np.ndarray
    deriv_weights_token: str = "<DW2>"

    @classmethod
    def read(cls, reader: Reader) -> NnetChainSupervision:
        """Reads an output.

        Raises:
            FormatError: the file holds something else, ends too early, or its parts do not fit each other.
        """
        reader.expect("<NnetChainSup>")
        name = reader.token()
        begin = reader.position
        indexes = read_index_vector(reader)
        supervision = Supervision.read(reader)
        weights_begin = reader.position
        token = reader.expect("<DW2>", "<DW>", "</NnetChainSup>")
        weights = np.zeros(0, np.float32)
        if token != "</NnetChainSup>":
            weights = _read_char_vector(reader) if token == "<DW>" else reader.vector()
            reader.expect("</NnetChainSup>")
        if len(weights) not in (0, len(indexes)):
            reader.fail(f"{len(weights)} weights of derivatives do not fit {len(indexes)} indexes", weights_begin)
        if not np.all((weights >= 0) & (weights < np.inf)):
            reader.fail("a weight of a derivative is negative or not a number", weights_begin)
        if not is_grid(indexes, supervision.num_sequences, supervision.frames_per_sequence):
            expected = f"{supervision.frames_per_sequence} frames of {supervision.num_sequences} sequences"
            reader.fail(f"the indexes of {name} are not those of {expected}", begin)
        return cls(name, indexes, supervision, weights, "" if token == "</NnetChainSup>" else token)

    def write(self, writer: Writer) -> None:
        """Writes the output."""
        writer.token("<NnetChainSup>")
        writer.token(self.name)
        write_index_vector(writer, self.indexes)
        self.supervision.write(writer)
        if self.deriv_weights_token:
            writer.token(self.deriv_weights_token)
            if self.deriv_weights_token == "<DW>" and isinstance(writer, BinaryWriter):
                levels = (255.0 * self.deriv_weights.astype(np.float64) + 0.5).astype(np.uint8)
                writer.raw(b"\1" + np.array(len(levels), "<i4").tobytes() + levels.tobytes())
            else:
                writer.vector(self.deriv_weights)
        writer.token("</NnetChainSup>")

    @property
    def times(self) -> np.ndarray:
        """(frames,) int64: the times of the output frames."""
        return self.indexes[:: self.supervision.num_sequences, _T].astype(np.int64)


def is_grid(indexes: np.ndarray, sequences: int, frames: int) -> bool:
    """Whether the indexes are those of ``frames`` equidistant frames of each sequence, of all at a time."""
    if frames < 1 or len(indexes) != sequences * frames:
        return False
    values = indexes.astype(np.int64).reshape(frames, sequences, 3)
    step = values[1, 0, _T] - values[0, 0, _T] if frames > 1 else 0
    return bool(
        np.all(values[..., _N] == np.arange(sequences))
        and np.all(values[..., _T] == values[0, 0, _T] + step * np.arange(frames)[:, None])
        and np.all(values[..., _X] == 0)
        and (step > 0 or frames == 1)
    )


def _read_char_vector(reader: Reader) -> np.ndarray:
    """Numbers between 0 and 1 in a byte each, as old files have them; plain numbers in the text form."""
    if not isinstance(reader, BinaryReader):
        return reader.vector()
    begin = reader.position
    head = reader.data[begin : begin + 5]
    number = int.from_bytes(head[1:], "little", signed=True)
    if head[:1] != b"\1" or len(head) < 5 or not 0 <= number <= len(reader.data) - begin - 5:
        reader.fail("expected a vector of bytes, found something else or the end of the file")
    reader.position = begin + 5 + number
    levels = np.frombuffer(reader.data, np.uint8, number, begin + 5)
    return np.float32(1.0 / 255.0) * levels.astype(np.float32)


@dataclass
class NnetChainExample:
    """An example, or a minibatch of merged examples.

    Args:
        inputs: the features, and i-vectors where the network has them.
        outputs: as a rule one, ``output``.
    """

    inputs: list[NnetIo]
    outputs: list[NnetChainSupervision]

    @classmethod
    def read(cls, reader: Reader) -> NnetChainExample:
        """Reads an example.

        Raises:
            FormatError: the file holds something else, or ends too early.
        """
        reader.expect("<Nnet3ChainEg>")
        reader.expect("<NumInputs>")
        inputs = [NnetIo.read(reader) for _ in range(_read_number(reader, "inputs"))]
        reader.expect("<NumOutputs>")
        outputs = [NnetChainSupervision.read(reader) for _ in range(_read_number(reader, "outputs"))]
        reader.expect("</Nnet3ChainEg>")
        return cls(inputs, outputs)

    def write(self, writer: Writer) -> None:
        """Writes the example."""
        writer.token("<Nnet3ChainEg>")
        for token, parts in (("<NumInputs>", self.inputs), ("<NumOutputs>", self.outputs)):
            writer.token(token)
            writer.int32(len(parts))
            writer.newline()
            for part in parts:
                part.write(writer)
                writer.newline()
        writer.token("</Nnet3ChainEg>")

    def input(self, name: str) -> NnetIo | None:
        """The input of that name, or None."""
        return next((part for part in self.inputs if part.name == name), None)

    @property
    def size(self) -> int:
        """The largest number of indexes of an input or output, by which Kaldi chooses the size of minibatches."""
        sizes = [len(part.indexes) for part in self.inputs] + [len(part.indexes) for part in self.outputs]
        return max(sizes)

    @property
    def structure(self) -> tuple[object, ...]:
        """What examples must share to be merged: names, dimensions, indexes, and the kind of their supervisions."""
        inputs = [(part.name, part.features.shape, part.indexes.tobytes()) for part in self.inputs]
        outputs = [
            (part.name, part.indexes.tobytes(), len(part.deriv_weights), part.supervision.kind) for part in self.outputs
        ]
        return (*inputs, None, *outputs)

    @property
    def is_merged(self) -> bool:
        """Whether there are several sequences in it."""
        return any(part.supervision.num_sequences > 1 for part in self.outputs)


def _read_number(reader: Reader, what: str) -> int:
    begin = reader.position
    number = reader.int32()
    if not 1 <= number <= _MOST_PARTS:
        reader.fail(f"an example cannot have {number} {what}", begin)
    return number


def shift_times(example: NnetChainExample, frame_shift: Frames) -> NnetChainExample:
    """Moves the features against the output, which augments the data: as ``nnet3-chain-copy-egs --frame-shift``.

    The output moves too, by the nearest multiple of its subsampling factor; i-vectors stay.

    Raises:
        DataError: the example has one output frame, so that its subsampling factor is unknown.
    """
    if frame_shift == 0:
        return example
    inputs = [
        part if part.name in NOT_SHIFTED else replace(part, indexes=part.indexes + np.array([0, frame_shift, 0], "i4"))
        for part in example.inputs
    ]
    outputs = []
    for part in example.outputs:
        times = part.times
        if len(times) < 2:
            raise DataError(f"the output {part.name} has one frame: its subsampling factor is unknown")
        factor = int(times[1] - times[0])
        shift = factor * int(np.floor(0.5 + frame_shift / factor))
        outputs.append(replace(part, indexes=part.indexes + np.array([0, shift, 0], "i4")))
    return NnetChainExample(inputs, outputs)
