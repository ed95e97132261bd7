"""Examples of one structure merged into minibatches, as ``nnet3-chain-merge-egs`` does.

Source: ``ExampleMergingConfig`` and ``MergeExamples`` in ``src/nnet3/nnet-example-utils.cc``, and
``MergeChainExamples`` and ``ChainExampleMerger`` in ``src/nnet3/nnet-chain-example.cc``.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.chain_example import NnetChainExample, NnetChainSupervision, NnetIo
from kaldi_quant.kaldi.chain_supervision import merge_supervisions
from kaldi_quant.kaldi.general_matrix import append_rows

_log = logging.getLogger(__name__)

# Of examples, for want of others to fill a minibatch with.
_LARGEST_USUAL_LOSS = 0.05

_RULE = re.compile(r"(?:(?P<size>-?\d{1,9})=)?(?P<ranges>\d{1,9}(?::\d{1,9})?(?:,\d{1,9}(?::\d{1,9})?)*)")


@dataclass(frozen=True)
class MinibatchSizes:
    """Which sizes minibatches may have, by the size of their examples.

    Args:
        rules: for some sizes of examples (0 where there is one rule for all) ranges of sizes of minibatches, both ends
            included. An example follows the rule of the nearest size.
    """

    rules: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]

    @classmethod
    def parse(cls, text: str) -> MinibatchSizes:
        """Parses Kaldi's ``--minibatch-size``: ``128``, ``128,64``, ``1:64,128`` or ``150=128,64/80=256,128``.

        Raises:
            UsageError: the text is none of these.
        """
        rules = []
        for part in text.split("/"):
            match = _RULE.fullmatch(part)
            if match is None or (match["size"] is None and "/" in text):
                raise UsageError(
                    f"--minibatch-size={text}: expected sizes such as 128,64 or 1:64, or such sizes by the size of "
                    "examples, as in 150=128,64/80=256"
                )
            ranges = []
            for piece in match["ranges"].split(","):
                first, _, last = piece.partition(":")
                ranges.append((int(first), int(last or first)))
                if not 0 < ranges[-1][0] <= ranges[-1][1]:
                    raise UsageError(f"--minibatch-size={text}: {piece} is not a range of sizes of at least 1")
            rules.append((int(match["size"] or 0), tuple(ranges)))
        if len({size for size, _ in rules}) < len(rules):
            raise UsageError(f"--minibatch-size={text}: an example size is given twice")
        return cls(tuple(rules))

    def choose(self, example_size: int, available: int, input_ended: bool) -> int:
        """The size of the next minibatch of such examples, 0 for none.

        Until the input has ended only the largest size is possible, because more examples may come.
        """
        _, ranges = min(self.rules, key=lambda rule: abs(example_size - rule[0]))
        if not input_ended:
            largest = max(last for _, last in ranges)
            return largest if largest <= available else 0
        return max((min(last, available) for first, last in ranges if first <= available), default=0)


def merge_examples(examples: Sequence[NnetChainExample], compress: bool = False) -> NnetChainExample:
    """Makes one example of several of one structure; the n-th gets the sequence number n.

    Args:
        examples: of which none was merged before.
        compress: whether the features are compressed, for writing.

    Raises:
        DataError: they differ in inputs, outputs, dimensions, weight or frames, or were merged before.
    """
    first = examples[0]
    if any(example.is_merged for example in examples):
        raise DataError("examples that were merged already cannot be merged again")
    names = sorted({part.name for example in examples for part in example.inputs})
    stride = int(first.inputs[0].indexes[:, 0].max()) + 1
    inputs = [_merge_inputs(examples, name, stride) for name in names]
    if compress:
        for part in inputs:
            part.features = part.features.compressed()
    if any(len(example.outputs) != len(first.outputs) for example in examples):
        raise DataError("examples of different numbers of outputs cannot be in one minibatch")
    outputs = [_merge_outputs([example.outputs[i] for example in examples]) for i in range(len(first.outputs))]
    return NnetChainExample(inputs, outputs)


def _merge_inputs(examples: Sequence[NnetChainExample], name: str, stride: int) -> NnetIo:
    indexes, features = [], []
    for n, example in enumerate(examples):
        for part in example.inputs:
            if part.name == name:
                if part.indexes[:, 0].max() >= stride:
                    raise DataError(f"the input {name} of an example has more sequences than the first example has")
                indexes.append(part.indexes + np.array([n * stride, 0, 0], np.int32))
                features.append(part.features)
    return NnetIo(name, np.concatenate(indexes), append_rows(features))


def _merge_outputs(parts: list[NnetChainSupervision]) -> NnetChainSupervision:
    first = parts[0]
    if any(part.name != first.name for part in parts):
        raise DataError("examples of differently named outputs cannot be in one minibatch")
    if any(len(part.deriv_weights) != len(first.deriv_weights) for part in parts):
        raise DataError(f"some examples have weights of derivatives for {first.name}, and some have not")
    # Kaldi sorts them by time, then by sequence.
    indexes = np.stack([part.indexes for part in parts], 1)
    indexes[..., 0] = np.arange(len(parts))
    return NnetChainSupervision(
        first.name,
        indexes.reshape(-1, 3),
        merge_supervisions([part.supervision for part in parts]),
        np.stack([part.deriv_weights for part in parts], 1).reshape(-1),
    )


class Groupable(Protocol):
    """What knows the size of an example, and what examples must share to be merged."""

    @property
    def size(self) -> int:
        """As that of ``NnetChainExample``."""

    @property
    def structure(self) -> tuple[object, ...]:
        """Likewise."""


Item = TypeVar("Item", bound=Groupable)


class ExampleGroups(Generic[Item]):
    """Collects examples of one structure until they fill a minibatch.

    Args:
        sizes: of the minibatches.
    """

    def __init__(self, sizes: MinibatchSizes) -> None:
        self._sizes = sizes
        self._waiting: dict[tuple[object, ...], list[Item]] = {}
        self._written: dict[int, Counter[int]] = {}
        self.discarded: Counter[int] = Counter()
        self.num_minibatches = 0

    def accept(self, example: Item) -> Iterator[tuple[str, list[Item]]]:
        """Takes an example; yields the minibatch's key, which is Kaldi's, and its examples when one is full."""
        key = example.structure
        waiting = self._waiting.setdefault(key, [])
        waiting.append(example)
        if self._sizes.choose(example.size, len(waiting), input_ended=False):
            del self._waiting[key]
            yield self._group(waiting)

    def finish(self) -> Iterator[tuple[str, list[Item]]]:
        """Yields what the rules still allow; the rest is discarded and counted."""
        for waiting in self._waiting.values():
            while waiting and (number := self._sizes.choose(waiting[0].size, len(waiting), input_ended=True)):
                yield self._group(waiting[:number])
                del waiting[:number]
            if waiting:
                self.discarded[waiting[0].size] += len(waiting)
        # What is lost is told where it is more than what is always left of the last minibatch.
        told = logging.INFO if self._share_lost > _LARGEST_USUAL_LOSS else logging.DEBUG
        for line in self.describe():
            _log.log(told, "%s", line)

    @property
    def waiting(self) -> Iterator[Item]:
        """Examples that are in no minibatch yet, or after the end of none."""
        return (example for examples in self._waiting.values() for example in examples)

    def _group(self, examples: list[Item]) -> tuple[str, list[Item]]:
        self._written.setdefault(examples[0].size, Counter())[len(examples)] += 1
        key = f"merged-{self.num_minibatches}-{len(examples)}"
        self.num_minibatches += 1
        return key, examples

    @property
    def _num_merged(self) -> int:
        return sum(length * number for counts in self._written.values() for length, number in counts.items())

    @property
    def _share_lost(self) -> float:
        lost = self.discarded.total()
        return lost / max(self._num_merged + lost, 1)

    def describe(self) -> Iterator[str]:
        """What was merged and what was discarded, in Kaldi's words."""
        sizes = sorted({*self._written, *self.discarded})
        pieces = []
        for size in sizes:
            written = ",".join(f"{length}->{number}" for length, number in self._written.get(size, Counter()).items())
            pieces.append(f"{size}={{{written},d={self.discarded[size]}}}")
        yield f"Merged specific eg types as follows: {','.join(pieces)}"
        merged = self._num_merged
        yield (
            f"Processed {merged + self.discarded.total()} egs into {self.num_minibatches} minibatches, discarding "
            f"{100 * self._share_lost:.4g}% of egs. Avg minibatch size was {merged / max(self.num_minibatches, 1):.4g}"
        )


class ExampleMerger:
    """Collects examples of one structure and merges them.

    Args:
        sizes: of the minibatches.
        compress: whether the merged features are compressed.
    """

    def __init__(self, sizes: MinibatchSizes, compress: bool = False) -> None:
        self.groups: ExampleGroups[NnetChainExample] = ExampleGroups(sizes)
        self._compress = compress

    def accept(self, example: NnetChainExample) -> Iterator[tuple[str, NnetChainExample]]:
        """Takes an example; yields a minibatch (key, merged example) when one is full."""
        return self._merged(self.groups.accept(example))

    def finish(self) -> Iterator[tuple[str, NnetChainExample]]:
        """Yields what the rules still allow; the rest is discarded and counted."""
        return self._merged(self.groups.finish())

    def _merged(self, groups: Iterator[tuple[str, list[NnetChainExample]]]) -> Iterator[tuple[str, NnetChainExample]]:
        return ((key, merge_examples(examples, self._compress)) for key, examples in groups)


def merge_egs(
    examples: Iterable[NnetChainExample], sizes: MinibatchSizes, compress: bool = False
) -> Iterator[tuple[str, NnetChainExample]]:
    """Merges examples into minibatches.

    Yields:
        (key, merged example), the key being Kaldi's ``merged-<number>-<size>``.

    Raises:
        DataError: examples of one structure cannot be merged.
    """
    merger = ExampleMerger(sizes, compress)
    for example in examples:
        yield from merger.accept(example)
    yield from merger.finish()
