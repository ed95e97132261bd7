"""Finds the examples of an archive without reading them whole.

Most examples have one layout in binary form: compressed or full features, successive times, one FST of frames. Of such
a one only sizes are read, and where its parts are; of one that is like an earlier one not even these. Any other layout,
also a broken one, is left to ``NnetChainExample.read``, which says what is wrong.
"""

from __future__ import annotations

import re
import struct

import numpy as np

from kaldi_quant.kaldi.chain_example import is_grid
from kaldi_quant.kaldi.compressed_matrix import HEADER_BYTES, CompressedHeader
from kaldi_quant.kaldi.index_vector import short_steps
from kaldi_quant.kaldi.packed_example import PackedExample, PackedInput, PackedOutput, TimeIndexes
from kaldi_quant.kaldi.packed_fst import PackedFst

_HEAD = re.compile(rb"\0B<Nnet3ChainEg> <NumInputs> \x04(.{4})", re.DOTALL)
_INPUT = re.compile(rb"<NnetIo> ([!-~]{1,200}) <I1V> \x04(.{4})", re.DOTALL)
_FULL = re.compile(rb"FM \x04(.{4})\x04(.{4})", re.DOTALL)
_COMPRESSED = re.compile(rb"(CM[23]?) .{8}(.{4})(.{4})", re.DOTALL)
_OUTPUTS = re.compile(rb"<NumOutputs> \x04(.{4})", re.DOTALL)
_OUTPUT = re.compile(rb"<NnetChainSup> ([!-~]{1,200}) <I1V> \x04(.{4})", re.DOTALL)
_SUPERVISION = re.compile(
    rb"<Supervision> <Weight> \x04(.{4})<NumSequences> \x04(.{4})<FramesPerSeq> \x04(.{4})<LabelDim> \x04(.{4})"
    rb"<End2End> F",
    re.DOTALL,
)
_ALIGNMENT = re.compile(rb"<AlignmentPdfs> \x04(.{4})", re.DOTALL)
_WEIGHTS = re.compile(rb"<DW2> FV \x04(.{4})", re.DOTALL)
_IO_END, _SUPERVISION_END, _END = b"</NnetIo> ", b"</Supervision> ", b"</NnetChainSup> "
_LAST = b"</Nnet3ChainEg> "
_FLOAT, _INT = struct.Struct("<f"), struct.Struct("<i")
# Examples of an archive have few different times.
_MOST_INDEXES, _MOST_TEMPLATES = 256, 8
# Of what stands behind a matrix's token, the bytes in front of its dimensions.
_OWN_BYTES = {"FM": 0, "CM": 8, "CM2": 8, "CM3": 8}


class _OtherLayoutError(Exception):
    """The example is not of the usual layout, or is not all there."""


class _Template:
    """What examples of one structure share but for what their FSTs, of which each has one, hold.

    Args:
        example: one of them.
    """

    def __init__(self, example: PackedExample) -> None:
        data, (output,) = example.data, example.outputs
        fst = output.fst
        self._example, self._output = example, output
        self._before = []
        position = 0
        for part in example.inputs:
            # The least value and the range are an example's own.
            for until, skipped in ((part.dims, _OWN_BYTES[part.token]), (part.values, part.size)):
                self._before.append((data[position:until], skipped))
                position = until + skipped
        self._before.append((data[position : fst.begin], 0))
        begin, number = output.deriv_weights
        self._weights = (data[fst.end : begin], 4 * number)
        self._end = data[begin + 4 * number :]

    def find(self, key: str, data: bytes, position: int, path: str, start: int) -> PackedExample | None:
        """As ``Packer.find``."""
        begin = position
        for literal, skipped in self._before:
            if not data.startswith(literal, position):
                return None
            position += len(literal) + skipped
        fst = PackedFst.find(data, position)
        literal, skipped = self._weights
        if fst is None or not data.startswith(literal, fst.end):
            return None
        weights = fst.end + len(literal)
        end = weights + skipped + len(self._end)
        if data[weights + skipped : end] != self._end:
            return None
        output = self._output._replace(
            fst=fst.moved(-begin), deriv_weights=(weights - begin, self._output.deriv_weights[1])
        )
        return self._example._replace(key=key, data=data[begin:end], path=path, start=start + begin, outputs=(output,))


class Packer:
    """Finds the parts of examples."""

    def __init__(self) -> None:
        self._indexes: dict[bytes, TimeIndexes] = {}
        self._grids: set[tuple[bytes, int]] = set()
        self._templates: list[_Template] = []

    def find(self, key: str, data: bytes, position: int, path: str, start: int) -> PackedExample | None:
        """Finds an example.

        Args:
            key: its name.
            data: what was read of the archive.
            position: in it, where the example begins.
            path: of the archive, for messages.
            start: the offset of ``data`` in the archive.

        Returns:
            the example; None where it has another layout, or is not all there.
        """
        for template in self._templates:
            if found := template.find(key, data, position, path, start):
                return found
        try:
            example = self._find(key, data, position, path, start)
        except (_OtherLayoutError, struct.error):
            return None
        if len(example.outputs) == 1 and not example.outputs[0].alignment[1]:
            self._templates = [_Template(example), *self._templates[: _MOST_TEMPLATES - 1]]
        return example

    def _find(self, key: str, data: bytes, position: int, path: str, start: int) -> PackedExample:
        begin = position
        inputs: list[PackedInput] = []
        outputs: list[PackedOutput] = []
        position, number = _number(_HEAD, data, position)
        for _ in range(number):
            found, position = self._input(data, position, begin)
            inputs.append(found)
        position, number = _number(_OUTPUTS, data, position)
        for _ in range(number):
            output, position = self._output(data, position, begin)
            outputs.append(output)
        end = _behind(_LAST, data, position)
        if not inputs or not outputs:
            raise _OtherLayoutError
        structure = (
            *((part.name, part.shape, part.indexes.content) for part in inputs),
            None,
            *(
                (
                    part.name,
                    part.indexes.content,
                    part.deriv_weights[1],
                    (part.weight, part.frames, part.label_dim, False),
                )
                for part in outputs
            ),
        )
        size = max(part.indexes.values.shape[0] for parts in (inputs, outputs) for part in parts)
        return PackedExample(key, data[begin:end], path, start + begin, tuple(inputs), tuple(outputs), size, structure)

    def _input(self, data: bytes, position: int, begin: int) -> tuple[PackedInput, int]:
        match = _matched(_INPUT, data, position)
        indexes, position = self._times(data, match.end(), _INT.unpack(match[2])[0])
        name, matrix = match[1].decode(), position
        if found := _COMPRESSED.match(data, position):
            token = found[1].decode()
            header = CompressedHeader.unpack(token, data[found.end() - HEADER_BYTES : found.end()])
            shape, size = (header.rows, header.columns), header.data_bytes()
        else:
            found, token = _matched(_FULL, data, position), "FM"
            shape = (_INT.unpack(found[1])[0], _INT.unpack(found[2])[0])
            size = 4 * shape[0] * shape[1]
        if min(shape) < 1 or shape[0] != len(indexes.values):
            raise _OtherLayoutError
        return PackedInput(name, indexes, shape, matrix - begin, token, size), _behind(
            _IO_END, data, found.end() + size
        )

    def _output(self, data: bytes, position: int, begin: int) -> tuple[PackedOutput, int]:
        match = _matched(_OUTPUT, data, position)
        indexes, position = self._times(data, match.end(), _INT.unpack(match[2])[0])
        sizes = _matched(_SUPERVISION, data, position)
        (weight,) = _FLOAT.unpack(sizes[1])
        sequences, frames, label_dim = (_INT.unpack(sizes[number])[0] for number in (2, 3, 4))
        grid = (indexes.content, frames)
        if grid not in self._grids:
            if frames < 1 or not is_grid(indexes.values, 1, frames):
                raise _OtherLayoutError
            self._grids.add(grid)
        fst = PackedFst.find(data, sizes.end())
        if sequences != 1 or label_dim < 1 or not 0 <= weight < np.inf or fst is None:
            raise _OtherLayoutError
        position, alignment = fst.end, (0, 0)
        if found := _ALIGNMENT.match(data, position):
            alignment = (found.end() - begin, _count(found))
            position = found.end() + 4 * alignment[1]
        found = _matched(_WEIGHTS, data, _behind(_SUPERVISION_END, data, position))
        weights = (found.end() - begin, _count(found))
        if weights[1] not in (0, len(indexes.values)):
            raise _OtherLayoutError
        end = _behind(_END, data, found.end() + 4 * weights[1])
        output = PackedOutput(
            match[1].decode(), indexes, weight, frames, label_dim, fst.moved(-begin), alignment, weights
        )
        return output, end

    def _times(self, data: bytes, position: int, size: int) -> tuple[TimeIndexes, int]:
        end = position + size
        steps = data[position:end]
        if not 0 < size == len(steps):
            raise _OtherLayoutError
        found = self._indexes.get(steps)
        if found is None:
            values = short_steps(steps)
            if values is None:
                raise _OtherLayoutError
            if len(self._indexes) >= _MOST_INDEXES:
                self._indexes.clear()
                self._grids.clear()
            values.flags.writeable = False
            found = self._indexes[steps] = TimeIndexes(values, values.tobytes())
        return found, end


def _matched(pattern: re.Pattern[bytes], data: bytes, position: int) -> re.Match[bytes]:
    found = pattern.match(data, position)
    if found is None:
        raise _OtherLayoutError
    return found


def _number(pattern: re.Pattern[bytes], data: bytes, position: int) -> tuple[int, int]:
    """The position behind a pattern that ends in a number, and the number."""
    found = _matched(pattern, data, position)
    return found.end(), _count(found)


def _count(found: re.Match[bytes]) -> int:
    (number,) = _INT.unpack(found[1])
    if number < 0:
        raise _OtherLayoutError
    return int(number)


def _behind(token: bytes, data: bytes, position: int) -> int:
    if not data.startswith(token, position):
        raise _OtherLayoutError
    return position + len(token)
