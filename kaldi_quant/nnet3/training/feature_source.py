"""Minibatches cut from features alone, for distillation: no labels, no examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.nnet3.ivectors_in_time import IvectorsInTime, IvectorSource
from kaldi_quant.nnet3.model import AcousticModel, acoustic_model
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.nnet3.training.augmentation import Augmentation, AugmentationOptions
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.train.distillation import Distillation, with_targets
from kaldi_quant.train.loss import Loss, mean
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.units import Frames

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


@dataclass(frozen=True)
class _Batch:
    """Pieces of utterances.

    Args:
        feats: (pieces, frames, dim) float32.
        ivectors: (pieces, dim) float32; None for networks without.
    """

    feats: Tensor
    ivectors: Tensor | None

    def __len__(self) -> int:
        return len(self.feats)

    def chosen(self, numbers: Tensor) -> _Batch:
        """Some of the pieces, (some,) int64, in that order."""
        return _Batch(self.feats[numbers], None if self.ivectors is None else self.ivectors[numbers])

    def to(self, device: torch.device) -> _Batch:
        """The same on a device."""
        return _Batch(self.feats.to(device), None if self.ivectors is None else self.ivectors.to(device))


class FeatureSource:
    """A ``Source`` of pieces of utterances.

    Args:
        utterances: (name, features) pairs, features: (frames, dim) float32.
        distillation: the teacher.
        options: how they are cut.
        subsampling: frames per output row.
        held_out: utterances that are validated on.
        place: where it is computed.
        ivectors: tells the i-vectors of the utterances, for networks that need them.
        held_out_ivectors: those of the ones that are validated on.
        ivector_period: frames per row of online i-vectors.
        max_bad_share: how many utterances may be unusable.

    Raises:
        DataError: of too many utterances the features are not the model's, or i-vectors that it needs are missing.
    """

    def __init__(
        self,
        utterances: Sequence[tuple[str, np.ndarray]],
        distillation: Distillation,
        options: FeatureOptions,
        subsampling: int,
        held_out: Sequence[tuple[str, np.ndarray]] = (),
        place: DeviceContext | None = None,
        ivectors: IvectorSource | None = None,
        held_out_ivectors: IvectorSource | None = None,
        ivector_period: Frames = 0,
        max_bad_share: float = 0.0,
    ) -> None:
        self.place = place or DeviceContext()
        self.distillation, self.options, self.subsampling = distillation, options, subsampling
        self.teacher = teacher = acoustic_model(distillation.teacher)
        self._ivectors, self._held_out_ivectors = (
            IvectorsInTime(teacher.ivector_dim, source, ivector_period) for source in (ivectors, held_out_ivectors)
        )
        if not utterances:
            raise DataError("there are no utterances to train on")
        self.utterances = self._usable(utterances, self._ivectors, max_bad_share)
        self.held_out = self._usable(held_out, self._held_out_ivectors, max_bad_share) if held_out else []
        wanted = options.augmentation
        self._validated: list[tuple[_Batch, Tensor | None]] | None = None
        self._augmentation = None if wanted is None else Augmentation(wanted, teacher.input_dim)

    @classmethod
    def of(
        cls,
        utterances: UtteranceSet,
        distillation: Distillation,
        options: FeatureOptions,
        held_out: UtteranceSet | None = None,
        place: DeviceContext | None = None,
    ) -> FeatureSource:
        """Pieces of utterances as they are run; arguments as above."""
        running = utterances.options
        return cls(
            utterances.utterances,
            distillation,
            options,
            running.chunks.frame_subsampling_factor,
            [] if held_out is None else held_out.utterances,
            place,
            utterances.ivectors,
            None if held_out is None else held_out.ivectors,
            running.online_ivector_period,
            utterances.max_bad_share,
        )

    def _usable(
        self, utterances: Sequence[tuple[str, np.ndarray]], ivectors: IvectorsInTime, max_bad_share: float
    ) -> list[tuple[str, np.ndarray]]:
        """Those that can be used; the others are reported."""
        found, bad = [], BadUtterances(max_bad_share)
        for name, feats in utterances:
            try:
                self._check(name, feats, ivectors)
            except DataError as error:
                bad.report(name, error)
                continue
            found.append((name, feats))
            bad.good += 1
        bad.check()
        return found

    def _check(self, name: str, feats: np.ndarray, ivectors: IvectorsInTime) -> None:
        if feats.ndim != 2 or feats.shape[1] != self.teacher.input_dim:
            raise DataError(
                f"the features have dimension {feats.shape[-1]}, and the model's have {self.teacher.input_dim}"
            )
        if not np.isfinite(feats).all():
            raise DataError("its features are not finite (NaN or infinity)")
        ivectors.at(ivectors.of(name), len(feats) - 1)

    def __len__(self) -> int:
        """Iterations: one for each pass."""
        return self.options.num_epochs

    def describe(self, iteration: int) -> tuple[str, int]:
        """What is shown of an iteration."""
        return f"{len(self.utterances)} utterances", 0

    def losses(self, iteration: int, model: AcousticModel) -> Iterator[Loss]:
        """The loss of this process's share of each minibatch."""
        generator = np.random.default_rng((self.options.srand, iteration))
        pieces = self._pieces(self.utterances, self._ivectors, model, generator)
        order = generator.permutation(len(pieces))
        size, share = self.options.minibatch_size, self.place.group.share
        for begin in range(0, len(order), size):
            chosen = order[begin : begin + size][share]
            batch = pieces.chosen(torch.from_numpy(chosen))
            if len(chosen) and self._augmentation is not None:
                feats = self._augmentation(batch.feats, (self.options.srand, iteration, begin), share)
                batch = replace(batch, feats=feats)
            yield self._loss(model, batch) if len(chosen) else Loss.none()

    def validate(self, model: AcousticModel) -> dict[str, float]:
        """The divergence on held-out utterances, per frame."""
        if not self.held_out:
            return {}
        if self._validated is None:
            pieces = self._pieces(self.held_out, self._held_out_ivectors, model, None)
            numbers = torch.arange(len(pieces)).split(self.options.minibatch_size)[self.place.group.share]
            parts = (pieces.chosen(some).to(self.place.device) for some in numbers)
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

    def _target(self, model: AcousticModel, batch: _Batch) -> Tensor:
        return self.distillation.target(*self._inputs(model, batch, self.teacher))

    def _loss(self, model: AcousticModel, batch: _Batch, target: Tensor | None = None) -> Loss:
        batch = batch.to(self.place.device)
        with self.place.forward():
            output = model(*self._inputs(model, batch, model))
        taught = self.distillation(output, self._target(model, batch) if target is None else target)
        frames = output.shape[0] * output.shape[1]
        ok = bool(np.isfinite(taught.kl))
        return Loss(taught.loss, {"kl": taught.kl * frames}, float(frames), frames, len(batch), ok)

    def _inputs(
        self, model: AcousticModel, batch: _Batch, network: AcousticModel
    ) -> tuple[Tensor, list[Span], Times, Tensor | None]:
        """What one of the two networks is called with; model: the one that is trained."""
        span, times = self._layout(model)
        return batch.feats, [span] * len(batch), times, batch.ivectors if network.ivector_dim else None

    def _layout(self, model: AcousticModel) -> tuple[Span, Times]:
        """The times of a piece's features, the context of student and teacher included, and of its output."""
        contexts = (model.context, self.teacher.context)
        times = np.arange(0, self.options.frames, self.subsampling)
        left, right = max(context.left for context in contexts), max(context.right for context in contexts)
        return (-left, int(times[-1]) + 1 + right), times

    def _pieces(
        self,
        utterances: Sequence[tuple[str, np.ndarray]],
        ivectors: IvectorsInTime,
        model: AcousticModel,
        generator: np.random.Generator | None,
    ) -> _Batch:
        """All utterances cut into pieces with their context; edges are repeated.

        Args:
            utterances: to cut.
            ivectors: of these; a piece has that of its middle, as Kaldi's examples.
            model: that is trained.
            generator: decides at which frame each utterance's first piece begins; None for its first one.
        """
        (start, end), _ = self._layout(model)
        found: list[np.ndarray] = []
        of_pieces: list[np.ndarray | None] = []
        for name, feats in utterances:
            shift = 0 if generator is None else int(generator.integers(self.options.frames))
            of_utterance = ivectors.of(name)
            for begin in self._begins(len(feats), shift):
                rows = np.arange(begin + start, begin + end).clip(0, len(feats) - 1)
                found.append(feats[rows])
                middle = min(max(begin + self.options.frames // 2, 0), len(feats) - 1)
                of_pieces.append(ivectors.at(of_utterance, middle))
        if not found:
            raise DataError(f"no utterance has the {self.subsampling} frames that one output needs")
        given = [ivector for ivector in of_pieces if ivector is not None]
        together = torch.from_numpy(np.stack(given).astype(np.float32)) if given else None
        return _Batch(torch.from_numpy(np.stack(found).astype(np.float32)), together)

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
