"""Minibatches cut from features alone, for distillation: no labels, no examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.nnet3.model import AcousticModel, acoustic_model
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.nnet3.training.augmentation import Augmentation, AugmentationOptions
from kaldi_quant.train.distillation import Distillation, with_targets
from kaldi_quant.train.loss import Loss, mean
from kaldi_quant.train.parallel.device_context import DeviceContext

# As long as the examples of Kaldi's recipes.
_CHUNK = 150


@dataclass(frozen=True)
class FeatureOptions:
    """How features are cut.

    Args:
        num_epochs: passes over all utterances; each begins its pieces at another frame.
        minibatch_size: pieces at a time.
        srand: decides the order, and how features are changed.
        augmentation: how much they are; None for not at all.
        frames: of a piece.
    """

    num_epochs: int = 3
    minibatch_size: int = 64
    srand: int = 0
    augmentation: AugmentationOptions | None = None
    frames: int = _CHUNK

    def __post_init__(self) -> None:
        if self.minibatch_size < 1 or self.num_epochs < 1:
            raise UsageError(
                f"--minibatch-size {self.minibatch_size} and --num-epochs {self.num_epochs}: expected 1 or more"
            )


class FeatureSource:
    """A ``Source`` of pieces of utterances.

    Args:
        utterances: (name, features) pairs, features: (frames, dim) float32.
        distillation: the teacher.
        options: how they are cut.
        subsampling: frames per output row.
        held_out: utterances that are validated on.
        place: where it is computed.

    Raises:
        DataError: the features' dimension is not the model's, or it needs i-vectors.
    """

    def __init__(
        self,
        utterances: Sequence[tuple[str, np.ndarray]],
        distillation: Distillation,
        options: FeatureOptions,
        subsampling: int,
        held_out: Sequence[tuple[str, np.ndarray]] = (),
        place: DeviceContext | None = None,
    ) -> None:
        self.place = place or DeviceContext()
        self.distillation, self.options, self.subsampling = distillation, options, subsampling
        self.utterances, self.held_out = list(utterances), list(held_out)
        self.teacher = teacher = acoustic_model(distillation.teacher)
        if teacher.ivector_dim:
            raise DataError(f"{teacher.nnet.path} needs i-vectors: train with --egs-dir, whose examples have them")
        for name, feats in [*self.utterances, *self.held_out]:
            if feats.ndim != 2 or feats.shape[1] != teacher.input_dim:
                raise DataError(
                    f"utterance {name}: the features have dimension {feats.shape[-1]}, and the model's have "
                    f"{teacher.input_dim}"
                )
        if not self.utterances:
            raise DataError("there are no utterances to train on")
        wanted = options.augmentation
        self._validated: list[tuple[Tensor, Tensor | None]] | None = None
        self._augmentation = None if wanted is None else Augmentation(wanted, teacher.input_dim)

    def __len__(self) -> int:
        """Iterations: one for each pass."""
        return self.options.num_epochs

    def describe(self, iteration: int) -> tuple[str, int]:
        """What is shown of an iteration."""
        return f"{len(self.utterances)} utterances", 0

    def losses(self, iteration: int, model: AcousticModel) -> Iterator[Loss]:
        """The loss of this process's share of each minibatch."""
        generator = np.random.default_rng((self.options.srand, iteration))
        pieces = self._pieces(self.utterances, model, generator)
        order = generator.permutation(len(pieces))
        size, share = self.options.minibatch_size, self.place.group.share
        for begin in range(0, len(order), size):
            chosen = order[begin : begin + size][share]
            feats = torch.from_numpy(pieces[chosen])
            if len(chosen) and self._augmentation is not None:
                feats = self._augmentation(feats, (self.options.srand, iteration, begin), share)
            yield self._loss(model, feats) if len(chosen) else Loss.none()

    def validate(self, model: AcousticModel) -> dict[str, float]:
        """The divergence on held-out utterances, per frame."""
        if not self.held_out:
            return {}
        if self._validated is None:
            pieces = torch.from_numpy(self._pieces(self.held_out, model, None)).split(self.options.minibatch_size)
            parts = (part.to(self.place.device) for part in pieces[self.place.group.share])
            self._validated = with_targets(self.distillation, parts, lambda part: self._target(model, part))
        with torch.no_grad():
            return mean([self._loss(model, *part) for part in self._validated], self.place.group)

    @property
    def has_held_out(self) -> bool:
        """Whether there are held-out utterances."""
        return bool(self.held_out)

    def objective(self, parts: dict[str, float]) -> float:
        """Minus the divergence."""
        return -parts["kl"]

    def score(self, model: AcousticModel) -> float | None:
        """Minus the divergence on held-out utterances."""
        return self.objective(self.validate(model)) if self.held_out else None

    def _target(self, model: AcousticModel, feats: Tensor) -> Tensor:
        span, times = self._layout(model)
        return self.distillation.target(feats, [span] * len(feats), times)

    def _loss(self, model: AcousticModel, feats: Tensor, target: Tensor | None = None) -> Loss:
        span, times = self._layout(model)
        feats = feats.to(self.place.device)
        with self.place.forward():
            output = model(feats, [span] * len(feats), times)
        taught = self.distillation(output, self._target(model, feats) if target is None else target)
        frames = output.shape[0] * output.shape[1]
        ok = bool(np.isfinite(taught.kl))
        return Loss(taught.loss, {"kl": taught.kl * frames}, float(frames), frames, len(feats), ok)

    def _layout(self, model: AcousticModel) -> tuple[Span, Times]:
        """The times of a piece's features, the context of student and teacher included, and of its output."""
        contexts = (model.context, self.teacher.context)
        times = np.arange(0, self.options.frames, self.subsampling)
        left, right = max(context.left for context in contexts), max(context.right for context in contexts)
        return (-left, int(times[-1]) + 1 + right), times

    def _pieces(
        self,
        utterances: Sequence[tuple[str, np.ndarray]],
        model: AcousticModel,
        generator: np.random.Generator | None,
    ) -> np.ndarray:
        """All utterances cut into pieces with their context, (pieces, frames, dim); edges are repeated.

        Args:
            utterances: to cut.
            model: that is trained.
            generator: decides at which frame each utterance's first piece begins; None for its first one.
        """
        (start, end), _ = self._layout(model)
        found = []
        for _, feats in utterances:
            shift = 0 if generator is None else int(generator.integers(self.options.frames))
            for begin in self._begins(len(feats), shift):
                rows = np.arange(begin + start, begin + end).clip(0, len(feats) - 1)
                found.append(feats[rows])
        if not found:
            raise DataError(f"no utterance has the {self.subsampling} frames that one output needs")
        return np.stack(found).astype(np.float32)

    def _begins(self, length: int, shift: int) -> list[int]:
        """Where an utterance's pieces begin: within it, if it is longer than a piece.

        Args:
            length: of the utterance, in frames.
            shift: by how much the first piece would begin before it.
        """
        frames = self.options.frames
        if length <= frames:
            return [-(shift % self.subsampling)] if length >= self.subsampling else []
        # A piece that is mostly beyond an end is left to other passes; one that is partly so moves inwards.
        begins = (begin for begin in range(-shift, length, frames) if 0 <= begin + frames / 2 <= length)
        return [min(max(begin, 0), length - frames) for begin in begins]
