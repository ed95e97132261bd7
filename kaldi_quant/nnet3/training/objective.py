"""What training minimises on a minibatch of examples, and how well a model does on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from kaldi_quant.kaldi.egs import EgsOptions
from kaldi_quant.kaldi.egs_folder import examples_in
from kaldi_quant.nnet3.chain.den_graph import DenominatorGraph
from kaldi_quant.nnet3.chain.objective import chain_objective
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.examples import ChainBatch, chain_batches
from kaldi_quant.train.distillation import Distillation, with_targets
from kaldi_quant.train.loss import Loss, mean
from kaldi_quant.train.parallel.device_context import DeviceContext

#: What the name of the output of the cross-entropy branch ends with.
XENT = "-xent"


@dataclass
class ChainLoss:
    """LF-MMI, mixed with distillation where there is a teacher.

    Args:
        graph: the denominator.
        options: of LF-MMI.
        distillation: the teacher and its share of the loss, if there is one.
        place: where it is computed.
    """

    graph: DenominatorGraph
    options: ChainOptions
    distillation: Distillation | None = None
    place: DeviceContext = field(default_factory=DeviceContext)

    def __call__(self, model: AcousticModel, batch: ChainBatch, target: Tensor | None = None) -> Loss:
        """The loss of a model on a minibatch.

        Args:
            model: the student.
            batch: the minibatch.
            target: what the teacher says of it, where that is known.
        """
        batch = batch.to(self.place.device)
        spans = [batch.span] * len(batch.feats)
        with self.place.forward():
            outputs = model.outputs(batch.feats, spans, batch.output_times, batch.ivectors)
        output = outputs[model.graph.output]
        xent = next((value for name, value in outputs.items() if name.endswith(XENT)), None)
        result = chain_objective(self.graph, batch.numerator, output, xent, self.options, batch.deriv_weights)
        sums = {"output": result.objf}
        if result.xent_objf is not None:
            sums["output-xent"] = result.xent_objf
        frames = output.shape[0] * output.shape[1]
        value = result.loss / frames
        if self.distillation is not None:
            taught = self.distillation(output, self.target(batch) if target is None else target)
            sums["kl"] = taught.kl * result.weight
            value = (1 - self.distillation.share) * value + self.distillation.share * taught.loss
        ok = result.ok and bool(torch.isfinite(value))
        return Loss(value, sums, result.weight, frames, len(batch.feats), ok)

    def target(self, batch: ChainBatch) -> Tensor:
        """What the teacher says of a minibatch that is where it is computed."""
        assert self.distillation is not None
        spans = [batch.span] * len(batch.feats)
        return self.distillation.target(batch.feats, spans, batch.output_times, batch.ivectors)

    def score(self, parts: dict[str, float]) -> float:
        """What is maximised, from the parts of the objective per frame."""
        share = self.distillation.share if self.distillation else 0.0
        return (1 - share) * parts["output"] - share * parts.get("kl", 0.0)


@dataclass
class Validation:
    """Held-out examples, read once. Each of the processes that train together computes some of the minibatches.

    Args:
        path: of the archive.
        loss: what is computed.
    """

    path: Path
    loss: ChainLoss
    _batches: list[tuple[ChainBatch, Tensor | None]] | None = None

    def __call__(self, model: AcousticModel) -> dict[str, float]:
        """The mean over frames of each part of the objective."""
        if self._batches is None:
            self._batches = self._share(model)
        with torch.no_grad():
            return mean([self.loss(model, *batch) for batch in self._batches], self.loss.place.group)

    def _share(self, model: AcousticModel) -> list[tuple[ChainBatch, Tensor | None]]:
        """The minibatches of this process, each with what the teacher says of it."""
        options = EgsOptions(minibatch_size="1:64", buffer_size=-1)
        place = self.loss.place
        share = list(chain_batches(examples_in(self.path), options, model))[place.group.share]
        return with_targets(self.loss.distillation, (batch.to(place.device) for _, batch in share), self.loss.target)
