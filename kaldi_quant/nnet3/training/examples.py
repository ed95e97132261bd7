"""Chain examples as tensors: what the network is given, and what the objective needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_example import NnetChainExample
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.egs import EgsOptions, minibatches
from kaldi_quant.kaldi.read_ahead import read_ahead
from kaldi_quant.nnet3.chain.numerator import NumeratorArcs
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.train.parallel.distributed import Group


@dataclass(frozen=True)
class ChainBatch:
    """A minibatch.

    Args:
        feats: (N, frames, dim) float32.
        ivectors: (N, dim) float32, or None.
        span: the first and one past the last time of the features.
        output_times: (T,) int64.
        output: the output node that is trained.
        arcs: the numerator.
        deriv_weights: (N, T) float32, or None where all are 1.
    """

    feats: Tensor
    ivectors: Tensor | None
    span: Span
    output_times: Times
    output: str
    arcs: NumeratorArcs
    deriv_weights: Tensor | None

    @classmethod
    def of(cls, example: NnetChainExample, share: slice = slice(None)) -> ChainBatch:
        """Makes tensors of an example, as a rule a merged one.

        Args:
            example: of which each sequence was an example of its own.
            share: which of its sequences are wanted.

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
        arcs = NumeratorArcs.of(_part(sup.supervision, share))
        layout = features.layout()
        feats = features.by_sequence(layout)
        if len(feats) != sequences:
            raise DataError(f"the example has the features of {len(feats)} sequences and the output of {sequences}")
        weights = None
        if np.any(sup.deriv_weights != 1):
            by_sequence = sup.deriv_weights.astype(np.float32).reshape(frames, sequences).T
            weights = torch.from_numpy(by_sequence[share].copy())
        span = (layout.first, layout.first + layout.frames)
        ivectors = _ivectors(example, sequences)
        chosen = torch.from_numpy(np.ascontiguousarray(feats[share]))
        return cls(chosen, None if ivectors is None else ivectors[share], span, sup.times, sup.name, arcs, weights)

    def to(self, device: torch.device) -> ChainBatch:
        """The same on a device."""
        names = ("feats", "ivectors", "arcs", "deriv_weights")
        moved = {name: value.to(device) for name in names if (value := getattr(self, name)) is not None}
        return ChainBatch(**{**vars(self), **moved})

    @property
    def num_frames(self) -> int:
        """Frames of features for which there are outputs, as Kaldi counts them, context left out."""
        step = int(self.output_times[1] - self.output_times[0]) if len(self.output_times) > 1 else 1
        return self.arcs.shape[0] * self.arcs.shape[1] * step


def _part(supervision: Supervision, share: slice) -> Supervision:
    """The supervision of some of the sequences, each of which has an FST of its own."""
    if share == slice(None):
        return supervision
    fsts = supervision.fsts[share]
    return replace(supervision, num_sequences=len(fsts), fsts=fsts, alignment_pdfs=supervision.alignment_pdfs[:0])


def _ivectors(example: NnetChainExample, sequences: int) -> Tensor | None:
    part = example.input("ivector")
    if part is None:
        return None
    values = part.by_sequence()
    if values.shape[:2] != (sequences, 1):
        raise DataError(f"expected one i-vector for each of {sequences} sequences, found {values.shape[:2]}")
    return torch.from_numpy(values[:, 0].copy())


def chain_batches(rspecifier: str, options: EgsOptions, model: AcousticModel) -> Iterator[tuple[str, ChainBatch]]:
    """Reads examples, makes minibatches of them, and makes tensors of these, all ahead of their use.

    Args:
        rspecifier: such as ``ark:exp/chain/tdnn1a_sp/egs/cegs.1.ark``.
        options: shift, order, sizes, and how far ahead.
        model: the network that they are for.

    Yields:
        (key, batch)

    Raises:
        FormatError, DataError: the archive is broken, or its examples do not fit the model.
    """
    merged = _merged(rspecifier, options, model)
    return read_ahead(((key, ChainBatch.of(example)) for key, example in merged), options.read_ahead)


def chain_shares(
    rspecifier: str, options: EgsOptions, model: AcousticModel, group: Group
) -> Iterator[ChainBatch | None]:
    """The same minibatches, and of each those sequences that are this process's; None where none is.

    Args:
        rspecifier, options, model: as above, the same in all processes.
        group: the processes.
    """

    def shares() -> Iterator[ChainBatch | None]:
        for _, example in _merged(rspecifier, options, model):
            sequences = example.outputs[0].supervision.num_sequences
            yield ChainBatch.of(example, group.share) if group.rank < sequences else None

    if group.size == 1:
        return (batch for _, batch in chain_batches(rspecifier, options, model))
    return read_ahead(shares(), options.read_ahead)


def _merged(rspecifier: str, options: EgsOptions, model: AcousticModel) -> Iterator[tuple[str, NnetChainExample]]:
    check = partial(check_example, model=model)
    return minibatches(rspecifier, replace(options, read_ahead=0), check)


def check_example(key: str, example: NnetChainExample, model: AcousticModel) -> None:
    """Refuses an example that was made for another model.

    Args:
        key: the example, for messages.
        example: as it was read.
        model: the network that is to compute it.

    Raises:
        DataError: the dimension of its features or i-vectors, its context or its pdfs are not the model's.
    """
    try:
        for name, dim in (("input", model.input_dim), ("ivector", model.ivector_dim)):
            _check_input(example, name, dim)
        _check_outputs(example, model)
    except DataError as error:
        raise DataError(f"example {key}: {error}") from error


def _check_input(example: NnetChainExample, name: str, dim: int) -> None:
    part = example.input(name)
    if not dim:
        return
    if part is None:
        raise DataError(f"the model needs the input {name}, and the example has none")
    if part.features.shape[1] != dim:
        raise DataError(f"the input {name} has dimension {part.features.shape[1]}, and the model's has {dim}")


def _check_outputs(example: NnetChainExample, model: AcousticModel) -> None:
    features = example.input("input")
    assert features is not None
    layout = features.layout()
    for sup in example.outputs:
        pdfs, sequences = sup.supervision.label_dim, sup.supervision.num_sequences
        if sup.name not in model.graph.outputs:
            raise DataError(f"it is for the output {sup.name}, and of the model's {model.graph.output} is computed")
        if pdfs != model.output_dim:
            raise DataError(f"it was made for {pdfs} pdfs, and the model has {model.output_dim}: their trees differ")
        if sequences != layout.sequences:
            raise DataError(f"it has the features of {layout.sequences} sequences and the output of {sequences}")
        left = int(sup.times[0]) - layout.first
        right = layout.first + layout.frames - 1 - int(sup.times[-1])
        context = model.context
        if (left < context.left or right < context.right) and not model.graph.has_optional_inputs:
            raise DataError(
                f"it has {left} frames before the first output and {right} behind the last, and the model needs "
                f"{context.left} and {context.right}"
            )
