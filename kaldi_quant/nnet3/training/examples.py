"""Chain examples as tensors: what the network is given, and what the objective needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.cores import helpers
from kaldi_quant.kaldi.chain_example import NnetChainExample
from kaldi_quant.kaldi.egs import EgsOptions
from kaldi_quant.kaldi.read_ahead import read_ahead
from kaldi_quant.nnet3.chain.arc_layout import PaddedLayout
from kaldi_quant.nnet3.chain.numerator import NumeratorArcs
from kaldi_quant.nnet3.chain.padded_numerator import PaddedArcs
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.nnet3.training.example_arrays import ExampleArrays, ExpectedExample, Wanted
from kaldi_quant.nnet3.training.example_readers import ExampleReaders
from kaldi_quant.train.parallel.device_context import DeviceContext

# Beyond these what each of them does for all minibatches is most of the work.
_MOST_READERS = 8


@dataclass(frozen=True)
class ChainBatch:
    """A minibatch.

    Args:
        feats: (N, frames, dim) float32.
        ivectors: (N, dim) float32, or None.
        span: the first and one past the last time of the features.
        output_times: (T,) int64.
        output: the output node that is trained.
        arcs: the numerator; what is for a GPU is laid out there.
        deriv_weights: (N, T) float32, or None where all are 1.
    """

    feats: Tensor
    ivectors: Tensor | None
    span: Span
    output_times: Times
    output: str
    arcs: NumeratorArcs | PaddedArcs | PaddedLayout
    deriv_weights: Tensor | None

    @classmethod
    def of(cls, example: NnetChainExample) -> ChainBatch:
        """Makes tensors of an example, as a rule a merged one.

        Args:
            example: of which each sequence was an example of its own.

        Raises:
            DataError: the example has no input features, several outputs, or sequences of different lengths.
        """
        return cls.of_arrays(ExampleArrays.of("", example))

    @classmethod
    def of_arrays(cls, arrays: ExampleArrays) -> ChainBatch:
        """Tensors that share the memory of arrays."""
        arcs = arrays.arcs
        return cls(
            torch.from_numpy(arrays.feats),
            None if arrays.ivectors is None else torch.from_numpy(arrays.ivectors),
            arrays.span,
            arrays.output_times,
            arrays.output,
            arcs if isinstance(arcs, PaddedLayout) else NumeratorArcs.of_layout(arcs),
            None if arrays.deriv_weights is None else torch.from_numpy(arrays.deriv_weights),
        )

    def to(self, device: torch.device) -> ChainBatch:
        """The same on a device."""
        names = ("feats", "ivectors", "deriv_weights")
        moved = {name: value.to(device) for name in names if (value := getattr(self, name)) is not None}
        arcs = self.arcs
        placed = PaddedArcs.of_layout(arcs, device) if isinstance(arcs, PaddedLayout) else arcs.to(device)
        return ChainBatch(**{**vars(self), **moved, "arcs": placed})

    @property
    def numerator(self) -> NumeratorArcs | PaddedArcs:
        """The arcs, of a minibatch that is where it is computed."""
        assert not isinstance(self.arcs, PaddedLayout)
        return self.arcs

    @property
    def num_frames(self) -> int:
        """Frames of features for which there are outputs, as Kaldi counts them, context left out."""
        step = int(self.output_times[1] - self.output_times[0]) if len(self.output_times) > 1 else 1
        return self.arcs.shape[0] * self.arcs.shape[1] * step


def expected_example(model: AcousticModel) -> ExpectedExample:
    """What examples must be like so that a model can compute them."""
    context, graph = model.context, model.graph
    dims = (model.input_dim, model.ivector_dim)
    return ExpectedExample(
        *dims, graph.outputs, model.output_dim, context.left, context.right, graph.has_optional_inputs
    )


def check_example(key: str, example: NnetChainExample, model: AcousticModel) -> None:
    """Refuses an example that was made for another model.

    Args:
        key: the example, for messages.
        example: as it was read.
        model: the network that is to compute it.

    Raises:
        DataError: the dimension of its features or i-vectors, its context or its pdfs are not the model's.
    """
    expected_example(model).check(key, example)


def wanted_examples(
    rspecifier: str, options: EgsOptions, model: AcousticModel, place: DeviceContext | None = None
) -> Wanted:
    """What is to be read.

    Args:
        rspecifier: such as ``ark:exp/chain/tdnn1a_sp/egs/cegs.1.ark``.
        options: shift, order, sizes, and how far ahead.
        model: the network that they are for.
        place: where they are computed, and by which processes.
    """
    place = place or DeviceContext()
    rank, size, padded = place.group.rank, place.group.size, place.device.type != "cpu"
    return Wanted(rspecifier, options, expected_example(model), rank, size, padded)


def find_readers(place: DeviceContext) -> ExampleReaders | None:
    """Processes that read examples for a GPU, which is faster than one thread; on a CPU a thread is enough."""
    if place.device.type == "cpu":
        return None
    return ExampleReaders(helpers(_MOST_READERS, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def chain_batches(rspecifier: str, options: EgsOptions, model: AcousticModel) -> Iterator[tuple[str, ChainBatch]]:
    """Reads examples, makes minibatches of them, and makes tensors of these, all ahead of their use.

    Args:
        rspecifier, options, model: as above.

    Yields:
        (key, batch)

    Raises:
        FormatError, DataError: the archive is broken, or its examples do not fit the model.
    """
    found = wanted_examples(rspecifier, options, model).read()
    batches = ((arrays.key, ChainBatch.of_arrays(arrays)) for arrays in found if arrays is not None)
    return read_ahead(batches, options.read_ahead)


def chain_shares(
    wanted: Wanted, readers: ExampleReaders | None = None, following: Wanted | None = None
) -> Iterator[ChainBatch | None]:
    """The same minibatches, and of each those sequences that are this process's; None where none is.

    Args:
        wanted: which; the same in all processes but for the rank.
        readers: processes that read them; None where they are read in a thread.
        following: what is read next.
    """
    found = wanted.read() if readers is None else readers.read(wanted, following)
    shares = (None if arrays is None else ChainBatch.of_arrays(arrays) for arrays in found)
    return read_ahead(shares, wanted.options.read_ahead)
