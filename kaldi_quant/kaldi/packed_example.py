"""Chain examples of an archive whose parts are known by their places alone: what order and minibatches depend on.

Numbers are unpacked, and checked, for a whole minibatch at once (``unpack``). ``example_packer`` finds such examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.chain_example import NnetChainExample, NnetChainSupervision, NnetIo
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.compressed_matrix import CompressedHeader
from kaldi_quant.kaldi.general_matrix import CompressedMatrix, FullMatrix, GeneralMatrix
from kaldi_quant.kaldi.packed_fst import PackedFst, unpack_fsts
from kaldi_quant.kaldi.reader import BinaryReader
from kaldi_quant.kaldi.supervision_fst import SupervisionFst

#: The bytes between the token of a matrix and its values.
HEADER_SIZES = {"FM": 10, "CM": 16, "CM2": 16, "CM3": 16}


class TimeIndexes(NamedTuple):
    """Successive times of one sequence: indexes, (rows, 3) int32, and their bytes."""

    values: np.ndarray
    content: bytes


class PackedInput(NamedTuple):
    """An input and where its matrix is."""

    name: str
    indexes: TimeIndexes
    shape: tuple[int, int]
    # Where the matrix begins, its token, and the bytes of its values.
    begin: int
    token: str
    size: int

    @property
    def dims(self) -> int:
        """Where what stands behind the token begins."""
        return self.begin + len(self.token) + 1

    @property
    def values(self) -> int:
        """Where its values begin."""
        return self.dims + HEADER_SIZES[self.token]


class PackedOutput(NamedTuple):
    """An output and where its FST is; of what follows that, where it begins and how many numbers there are."""

    name: str
    indexes: TimeIndexes
    weight: float
    frames: int
    label_dim: int
    fst: PackedFst
    alignment: tuple[int, int]
    deriv_weights: tuple[int, int]


class PackedExample(NamedTuple):
    """An example.

    Args:
        key: its name.
        data: its bytes, from the binary header on.
        path: of the archive, for messages.
        start: the offset of ``data`` in the archive, for messages.
        inputs, outputs: where their parts are.
        size: as that of ``NnetChainExample``.
        structure: likewise, without the shift of its times.
    """

    key: str
    data: bytes
    path: str
    start: int
    inputs: tuple[PackedInput, ...]
    outputs: tuple[PackedOutput, ...]
    size: int
    structure: tuple[object, ...]

    def read(self) -> NnetChainExample:
        """Reads it by itself.

        Raises:
            DataError: it is broken; names the example and the byte offset.
        """
        reader = BinaryReader(self.data, self.path, self.start)
        reader.position = 2
        try:
            return NnetChainExample.read(reader)
        except FormatError as error:
            raise DataError(f"example {self.key}: {error}") from error


@dataclass(frozen=True)
class WholeExample:
    """An example that was read at once, because of its layout or where it comes from."""

    key: str
    example: NnetChainExample

    @property
    def size(self) -> int:
        """As that of the example."""
        return self.example.size

    @property
    def structure(self) -> tuple[object, ...]:
        """Likewise."""
        return self.example.structure


AnyExample = PackedExample | WholeExample


def unpack(examples: Sequence[AnyExample]) -> list[NnetChainExample]:
    """Reads examples.

    Raises:
        DataError: one is broken; names the example and the byte offset.
    """
    packed = [example for example in examples if isinstance(example, PackedExample)]
    outputs = [(example.data, output) for example in packed for output in example.outputs]
    fsts = iter(unpack_fsts([(data, output.fst, output.frames, output.label_dim) for data, output in outputs]))
    return [
        example.example
        if isinstance(example, WholeExample)
        else _unpacked(example, [next(fsts) for _ in example.outputs])
        for example in examples
    ]


def _unpacked(example: PackedExample, fsts: list[SupervisionFst | None]) -> NnetChainExample:
    data = example.data
    inputs = [NnetIo(part.name, part.indexes.values, _matrix(data, part)) for part in example.inputs]
    outputs = []
    for part, fst in zip(example.outputs, fsts, strict=True):
        weights = np.frombuffer(data, "<f4", part.deriv_weights[1], part.deriv_weights[0])
        if fst is None or not ((weights >= 0) & (weights < np.inf)).all():
            return example.read()
        alignment = np.frombuffer(data, "<i4", part.alignment[1], part.alignment[0])
        supervision = Supervision(
            np.float32(part.weight), 1, part.frames, part.label_dim, False, [fst], alignment.copy()
        )
        outputs.append(NnetChainSupervision(part.name, part.indexes.values, supervision, weights))
    return NnetChainExample(inputs, outputs)


def _matrix(data: bytes, part: PackedInput) -> GeneralMatrix:
    if part.token == "FM":
        return FullMatrix(np.frombuffer(data, "<f4", part.size // 4, part.values).reshape(part.shape).copy())
    header = CompressedHeader.unpack(part.token, data[part.dims : part.values])
    return CompressedMatrix(header, data[part.values : part.values + part.size])
