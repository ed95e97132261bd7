"""Chain examples as arrays: what the network is given, and what the objective needs. Nothing here imports torch.

So that processes that only read examples begin at once and are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_example import NnetChainExample
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.egs import EgsOptions, every_nth_minibatch
from kaldi_quant.nnet3.chain.arc_layout import ArcLayout, PaddedLayout


@dataclass(frozen=True)
class ExampleArrays:
    """A minibatch; see ``ChainBatch``.

    Args:
        key: Kaldi's name for it.
        feats: (N, frames, dim) float32.
        ivectors: (N, dim) float32, or None.
        span: the first and one past the last time of the features.
        output_times: (T,) int64.
        output: the output node that is trained.
        arcs: the numerator.
        deriv_weights: (N, T) float32, or None where all are 1.
    """

    key: str
    feats: np.ndarray
    ivectors: np.ndarray | None
    span: tuple[int, int]
    output_times: np.ndarray
    output: str
    arcs: ArcLayout | PaddedLayout
    deriv_weights: np.ndarray | None

    @classmethod
    def of(cls, key: str, example: NnetChainExample, share: slice = slice(None), padded: bool = False) -> ExampleArrays:
        """Makes arrays of an example, as a rule a merged one.

        Args:
            key: its name.
            example: of which each sequence was an example of its own.
            share: which of its sequences are wanted.
            padded: whether arcs are laid out for a GPU.

        Raises:
            DataError: the example has no input features, several outputs, or sequences of different lengths.
        """
        features = example.input("input")
        if features is None or len(example.outputs) != 1:
            inputs = ", ".join(part.name for part in example.inputs)
            outputs = ", ".join(part.name for part in example.outputs)
            raise DataError(f"expected an example with the input input and one output, found {inputs} and {outputs}")
        (sup,) = example.outputs
        sequences, frames = sup.supervision.num_sequences, sup.supervision.frames_per_sequence
        arcs = ArcLayout.of(_part(sup.supervision, share))
        layout = features.layout()
        feats = features.by_sequence(layout)
        if len(feats) != sequences:
            raise DataError(f"the example has the features of {len(feats)} sequences and the output of {sequences}")
        weights = None
        if np.any(sup.deriv_weights != 1):
            by_sequence = sup.deriv_weights.astype(np.float32).reshape(frames, sequences).T
            weights = by_sequence[share].copy()
        ivectors = _ivectors(example, sequences)
        return cls(
            key,
            np.ascontiguousarray(feats[share]),
            None if ivectors is None else ivectors[share].copy(),
            (layout.first, layout.first + layout.frames),
            sup.times,
            sup.name,
            arcs.padded() if padded else arcs,
            weights,
        )


def _part(supervision: Supervision, share: slice) -> Supervision:
    """The supervision of some of the sequences, each of which has an FST of its own."""
    if share == slice(None):
        return supervision
    fsts = supervision.fsts[share]
    return replace(supervision, num_sequences=len(fsts), fsts=fsts, alignment_pdfs=supervision.alignment_pdfs[:0])


def _ivectors(example: NnetChainExample, sequences: int) -> np.ndarray | None:
    part = example.input("ivector")
    if part is None:
        return None
    values = part.by_sequence()
    if values.shape[:2] != (sequences, 1):
        raise DataError(f"expected one i-vector for each of {sequences} sequences, found {values.shape[:2]}")
    return values[:, 0]


@dataclass(frozen=True)
class ExpectedExample:
    """What examples must be like so that a model can compute them.

    Args:
        input_dim, ivector_dim: of its inputs; 0 for no i-vectors.
        outputs: the output nodes that it has.
        output_dim: its pdfs.
        left, right: its context, which is optional if ``has_optional_inputs``.
        has_optional_inputs: whether inputs may be missing.
    """

    input_dim: int
    ivector_dim: int
    outputs: tuple[str, ...]
    output_dim: int
    left: int
    right: int
    has_optional_inputs: bool

    def check(self, key: str, example: NnetChainExample) -> None:
        """Refuses an example that was made for another model.

        Args:
            key: the example, for messages.
            example: as it was read.

        Raises:
            DataError: the dimension of its features or i-vectors, its context or its pdfs are not the model's.
        """
        try:
            for name, dim in (("input", self.input_dim), ("ivector", self.ivector_dim)):
                _check_input(example, name, dim)
            self._check_outputs(example)
        except DataError as error:
            raise DataError(f"example {key}: {error}") from error

    def _check_outputs(self, example: NnetChainExample) -> None:
        features = example.input("input")
        assert features is not None
        layout = features.layout()
        for sup in example.outputs:
            pdfs, sequences = sup.supervision.label_dim, sup.supervision.num_sequences
            if sup.name not in self.outputs:
                raise DataError(f"it is for the output {sup.name}, and of the model's {self.outputs[0]} is computed")
            if pdfs != self.output_dim:
                raise DataError(f"it was made for {pdfs} pdfs, and the model has {self.output_dim}: their trees differ")
            if sequences != layout.sequences:
                raise DataError(f"it has the features of {layout.sequences} sequences and the output of {sequences}")
            left = int(sup.times[0]) - layout.first
            right = layout.first + layout.frames - 1 - int(sup.times[-1])
            if (left < self.left or right < self.right) and not self.has_optional_inputs:
                raise DataError(
                    f"it has {left} frames before the first output and {right} behind the last, and the model needs "
                    f"{self.left} and {self.right}"
                )


def _check_input(example: NnetChainExample, name: str, dim: int) -> None:
    part = example.input(name)
    if not dim:
        return
    if part is None:
        raise DataError(f"the model needs the input {name}, and the example has none")
    if part.features.shape[1] != dim:
        raise DataError(f"the input {name} has dimension {part.features.shape[1]}, and the model's has {dim}")


@dataclass(frozen=True)
class Wanted:
    """Which examples are read, and how.

    Args:
        rspecifier: such as ``ark:exp/chain/tdnn1a_sp/egs/cegs.1.ark``.
        options: shift, order and sizes.
        expected: what they must be like.
        rank, size: of each minibatch every size-th sequence from this one on.
        padded: whether arcs are laid out for a GPU.
    """

    rspecifier: str
    options: EgsOptions
    expected: ExpectedExample
    rank: int = 0
    size: int = 1
    padded: bool = False

    def read(self, first: int = 0, step: int = 1) -> Iterator[ExampleArrays | None]:
        """Every step-th minibatch from the first on; None for one of which there is no share.

        Raises:
            FormatError, DataError: the archive is broken, or its examples do not fit the model.
        """
        share = slice(None) if self.size == 1 else slice(self.rank, None, self.size)
        for key, example in every_nth_minibatch(self.rspecifier, self.options, self.expected.check, first, step):
            has_share = self.rank < example.outputs[0].supervision.num_sequences
            yield ExampleArrays.of(key, example, share, self.padded) if has_share else None
