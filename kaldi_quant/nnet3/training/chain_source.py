"""Minibatches of an egs folder, for the loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.egs import EgsOptions
from kaldi_quant.kaldi.egs_folder import EgsFolder, examples_in
from kaldi_quant.nnet3.model import AcousticModel, acoustic_model
from kaldi_quant.nnet3.training.archives import check_info, possible_shifts
from kaldi_quant.nnet3.training.augmentation import Augmentation, AugmentationOptions
from kaldi_quant.nnet3.training.examples import Wanted, chain_shares, find_readers, wanted_examples
from kaldi_quant.nnet3.training.objective import ChainLoss, Validation
from kaldi_quant.train.loss import Loss


@dataclass(frozen=True)
class SourceOptions:
    """How examples are read.

    Args:
        num_epochs: passes over all archives, each with another frame shift; three of them are one of Kaldi's epochs
            for a model with frame-subsampling factor 3.
        minibatch_size: Kaldi's ``--minibatch-size``.
        srand: decides the order, and how features are changed.
        augmentation: how much they are; None for not at all.

    Raises:
        UsageError: there cannot be so many passes.
    """

    num_epochs: int = 3
    minibatch_size: str = "64"
    srand: int = 0
    augmentation: AugmentationOptions | None = None

    def __post_init__(self) -> None:
        if self.num_epochs < 0:
            raise UsageError(f"--num-epochs {self.num_epochs}: expected 0 or more")


class ChainSource:
    """A ``Source`` of chain examples.

    Args:
        egs: the folder.
        loss: what is minimised.
        options: how they are read.
        model: that is trained.
        subsampling: its frame-subsampling factor.
    """

    def __init__(
        self,
        egs: EgsFolder,
        loss: ChainLoss,
        options: SourceOptions,
        model: AcousticModel,
        subsampling: int,
    ) -> None:
        self.egs, self.loss, self.options = egs, loss, options
        models = [model, acoustic_model(loss.distillation.teacher)] if loss.distillation else [model]
        for each in models:
            check_info(egs.info, each, subsampling)
        self.shifts = possible_shifts(egs.archives[0], models, subsampling)
        wanted = options.augmentation
        self._augmentation = None if wanted is None else Augmentation(wanted, model.input_dim)
        #: Whether the next pass follows here, so that its examples may be read ahead.
        self.goes_on = True
        self._readers = find_readers(loss.place)
        self._validation = Validation(egs.validation, loss) if egs.validation else None
        self._combination = Validation(egs.combination, loss) if egs.combination else None

    def __len__(self) -> int:
        """Iterations."""
        return self.options.num_epochs * len(self.egs.archives)

    def describe(self, iteration: int) -> tuple[str, int]:
        """An iteration's archive and frame shift."""
        archive, shift = self.egs.iteration(iteration, self.shifts)
        return archive.name, shift

    def losses(self, iteration: int, model: AcousticModel) -> Iterator[Loss]:
        """The loss of this process's share of each minibatch."""
        srand, group = self.options.srand, self.loss.place.group
        wanted = self._wanted(iteration, model)
        goes_on = self.goes_on and iteration + 1 < len(self)
        following = self._wanted(iteration + 1, model) if goes_on else None
        for number, batch in enumerate(chain_shares(wanted, self._readers, following)):
            if batch is not None and self._augmentation is not None:
                feats = self._augmentation(batch.feats, (srand, iteration, number), group.share)
                batch = replace(batch, feats=feats)
            yield Loss.none() if batch is None else self.loss(model, batch)

    def _wanted(self, iteration: int, model: AcousticModel) -> Wanted:
        archive, shift = self.egs.iteration(iteration, self.shifts)
        options = EgsOptions(self.options.minibatch_size, shift, srand=self.options.srand + iteration)
        return wanted_examples(examples_in(archive), options, model, self.loss.place)

    def validate(self, model: AcousticModel) -> dict[str, float]:
        """On the held-out examples."""
        return self._validation(model) if self._validation else {}

    @property
    def has_held_out(self) -> bool:
        """Whether the folder has held-out examples."""
        return self._validation is not None

    def objective(self, parts: dict[str, float]) -> float:
        """What training maximises."""
        return self.loss.score(parts)

    def score(self, model: AcousticModel) -> float | None:
        """On the examples for combination, or else the held-out ones."""
        chosen = self._combination or self._validation
        return self.loss.score(chosen(model)) if chosen else None
