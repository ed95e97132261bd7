"""Raw features, features with derivatives, and spliced features that a matrix transforms: which a model takes.

Kaldi's scripts for GMM systems decide by the files in the model's folder: ``final.mat`` means the last kind. A
network may have that file from the system that its alignments came from, so that here dimensions decide, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.features.deltas import DeltaOptions, add_deltas
from kaldi_quant.kaldi.features.settings import FeatureSettings
from kaldi_quant.kaldi.features.splice import SpliceOptions, splice, transform
from kaldi_quant.kaldi.features.steps import EachUtterance, Utterances
from kaldi_quant.kaldi.tables import OnBad

_log = logging.getLogger(__name__)

FeatureKind = Literal["raw", "delta", "lda"]
FEATURE_KINDS: tuple[FeatureKind, ...] = get_args(FeatureKind)


@dataclass(frozen=True)
class KindStep:
    """Makes features of the kind that a model takes; the first utterance's dimension decides which that is.

    Args:
        settings: what the model's folder says.
        input_dim: tells the dimension of the model's input.
        wanted: the kind, where that is known.
    """

    settings: FeatureSettings
    input_dim: Callable[[], int]
    wanted: FeatureKind | None = None

    def __call__(self, utterances: Utterances, on_bad: OnBad | None) -> Iterator[tuple[str, np.ndarray]]:
        """Gives the utterances with their new features."""
        step: EachUtterance | None = None
        for utterance, feats in utterances:
            if step is None and feats.size:
                kind = self.wanted or self.kind(feats.shape[1])
                if kind != "raw":
                    _log.info("features of dimension %d are made into those of kind %s", feats.shape[1], kind)
                step = EachUtterance(self._change(kind))
            yield from step([(utterance, feats)], on_bad) if step else [(utterance, feats)]

    def kind(self, dim: int) -> FeatureKind:
        """The kind that makes the model's input of features of this dimension; raw where none does.

        Raises:
            UsageError: more than one does.
        """
        wanted, lda = self.input_dim(), self.settings.lda
        fits: list[FeatureKind] = ["raw"] if dim == wanted else []
        if lda is not None:
            spliced = self._splice.output_dim(dim)
            fits += ["lda"] if len(lda) == wanted and lda.shape[1] in (spliced, spliced + 1) else []
        elif self.settings.deltas is not None and self.settings.deltas.delta_order:
            fits += ["delta"] if self.settings.deltas.output_dim(dim) == wanted else []
        if len(fits) > 1:
            raise UsageError(
                f"features of dimension {dim} fit the model as they are and as {fits[1]}, of which its folder speaks: "
                f"give --feat-type raw or --feat-type {fits[1]}"
            )
        return fits[0] if fits else "raw"

    @property
    def _splice(self) -> SpliceOptions:
        return self.settings.splice or SpliceOptions()

    def _change(self, kind: FeatureKind) -> Callable[[str, np.ndarray], np.ndarray]:
        if kind == "raw":
            return lambda _, feats: feats
        if kind == "delta":
            options = self.settings.deltas or DeltaOptions()
            return lambda _, feats: add_deltas(feats, options)
        lda = self.settings.lda
        if lda is None:
            raise UsageError("--feat-type lda: there is no final.mat in the model's folder")
        return lambda _, feats: transform(splice(feats, self._splice), lda)
