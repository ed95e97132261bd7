"""What training minimises on a minibatch of examples, and how well a model does on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from kaldi_quant.kaldi.egs import EgsOptions
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.train.chain.den_graph import DenominatorGraph
from kaldi_quant.train.chain.objective import chain_objective
from kaldi_quant.train.chain.options import ChainOptions
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.examples import ChainBatch, chain_batches


@dataclass
class Loss:
    """The loss of a minibatch.

    Args:
        value: (), the mean over frames.
        sums: parts of the objective, by name, summed over frames.
        weight: how many frames these count as.
        sequences: of the minibatch.
        ok: False where it is no finite number, and the minibatch is to be left out.
    """

    value: Tensor
    sums: dict[str, float]
    weight: float
    sequences: int
    ok: bool


@dataclass
class ChainLoss:
    """LF-MMI, mixed with distillation where there is a teacher.

    Args:
        graph: the denominator.
        options: of LF-MMI.
        distillation: the teacher and its share of the loss, if there is one.
    """

    graph: DenominatorGraph
    options: ChainOptions
    distillation: Distillation | None = None

    def __call__(self, model: AcousticModel, batch: ChainBatch) -> Loss:
        """The loss of a model on a minibatch."""
        spans = [batch.span] * len(batch.feats)
        outputs = model.outputs(batch.feats, spans, batch.output_times, batch.ivectors)
        output, xent = outputs[model.graph.output], outputs.get("output-xent")
        result = chain_objective(self.graph, batch.arcs, output, xent, self.options, batch.deriv_weights)
        sums = {"output": result.objf}
        if result.xent_objf is not None:
            sums["output-xent"] = result.xent_objf
        value = result.loss / result.weight
        if self.distillation is not None:
            kl = self.distillation.divergence(output, batch.feats, batch.span, batch.output_times, batch.ivectors)
            sums["kl"] = float(kl.detach()) * result.weight
            value = (1 - self.distillation.share) * value + self.distillation.share * kl
        ok = result.ok and bool(torch.isfinite(value))
        return Loss(value, sums, result.weight, len(batch.feats), ok)

    def score(self, parts: dict[str, float]) -> float:
        """What is maximised, from the parts of the objective per frame."""
        share = self.distillation.share if self.distillation else 0.0
        return (1 - share) * parts["output"] - share * parts.get("kl", 0.0)


@dataclass
class Validation:
    """Held-out examples, read once.

    Args:
        path: of the archive.
        loss: what is computed.
    """

    path: Path
    loss: ChainLoss
    _batches: list[ChainBatch] = field(default_factory=list)

    def __call__(self, model: AcousticModel) -> dict[str, float]:
        """The mean over frames of each part of the objective."""
        if not self._batches:
            options = EgsOptions(minibatch_size="1:64", buffer_size=-1)
            self._batches = [batch for _, batch in chain_batches(f"ark:{self.path}", options, model)]
        sums: dict[str, float] = {}
        weight = 0.0
        with torch.no_grad():
            for batch in self._batches:
                loss = self.loss(model, batch)
                weight += loss.weight
                for name, value in loss.sums.items():
                    sums[name] = sums.get(name, 0.0) + value
        return {name: value / weight for name, value in sums.items()}
