"""The chain objective of a model on examples, as ``nnet3-chain-compute-prob`` computes it.

Source: ``src/nnet3/nnet-chain-diagnostics.cc``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_example import NnetChainExample
from kaldi_quant.kaldi.merge_egs import ExampleMerger, MinibatchSizes
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.objective import chain_objective
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.examples import ChainBatch, check_example

_log = logging.getLogger(__name__)

# Single examples are computed so many at a time, which does not change the result.
_SIZES = MinibatchSizes.parse("1:64")


@dataclass
class ObjectiveSum:
    """Sums over frames; ``objf`` and ``l2_term`` are to be divided by ``weight``."""

    objf: float = 0.0
    l2_term: float = 0.0
    weight: float = 0.0

    def __str__(self) -> str:
        """The mean over the frames, in Kaldi's words."""
        objf, l2_term = self.objf / self.weight, self.l2_term / self.weight
        terms = f"{objf:.6g} + {l2_term:.6g} = {objf + l2_term:.6g}" if l2_term else f"{objf:.6g}"
        return f"{terms} per frame, over {self.weight:.6g} frames."


@dataclass
class ChainProb:
    """Sums the objective of a model over examples.

    Args:
        model: with the output ``output``, and with ``output-xent`` where options ask for it.
        graph: the denominator.
        options: weights of the parts.
        sums: the result, for each output.
        num_failed: minibatches whose objective was no finite number; they count -10 per frame.
    """

    model: AcousticModel
    graph: DenominatorGraph
    options: ChainOptions
    sums: dict[str, ObjectiveSum] = field(default_factory=dict)
    num_failed: int = 0

    def compute(self, examples: Iterable[tuple[str, NnetChainExample]]) -> dict[str, ObjectiveSum]:
        """Adds the objective of examples, merged or not.

        Raises:
            DataError: an example does not fit the model, or none has a weight.
        """
        with torch.no_grad():
            for example in self._minibatches(examples):
                self._add(ChainBatch.of(example))
        if any(not total.weight for total in self.sums.values()):
            raise DataError("the weights of all examples are 0")
        if self.num_failed:
            _log.warning(
                "the objective of %d minibatches is not finite and is counted as -10 per frame", self.num_failed
            )
        return self.sums

    def _minibatches(self, examples: Iterable[tuple[str, NnetChainExample]]) -> Iterator[NnetChainExample]:
        merger = ExampleMerger(_SIZES)
        for key, example in examples:
            check_example(key, example, self.model)
            if example.is_merged:
                yield example
            else:
                yield from (merged for _, merged in merger.accept(example))
        yield from (merged for _, merged in merger.finish())

    def _add(self, batch: ChainBatch) -> None:
        spans = [batch.span] * len(batch.feats)
        outputs = list(self.model.outputs(batch.feats, spans, batch.output_times, batch.ivectors).values())
        xent = outputs[1] if len(outputs) > 1 else None
        result = chain_objective(self.graph, batch.numerator, outputs[0], xent, self.options)
        self.num_failed += not result.ok
        for name, objf in zip(self.model.graph.outputs, (result.objf, result.xent_objf), strict=False):
            total = self.sums.setdefault(name, ObjectiveSum())
            total.objf += objf or 0.0
            total.weight += result.weight
            if name == self.model.graph.output:
                total.l2_term += result.l2_term
