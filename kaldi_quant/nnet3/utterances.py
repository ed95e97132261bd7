"""Utterances that networks are calibrated and measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import cast

import numpy as np
import torch

from kaldi_quant.bad_utterances import DEFAULT_MAX_BAD_SHARE, BadUtterances
from kaldi_quant.kaldi.text import encode
from kaldi_quant.nnet3.inference import Inference, InferenceOptions, IvectorSource
from kaldi_quant.nnet3.runnable import Runnable
from kaldi_quant.progress import progress
from kaldi_quant.quant.host import Data, Executable


class UtteranceSet(Data):
    """Utterances, and how to run them: the ``Data`` of nnet3 networks.

    Args:
        utterances: (name, features) pairs, features: (frames, dim) float32.
        options: how a network computes them.
        ivectors: tells their i-vectors, where the network has that input.
        max_bad_share: how many utterances may be unusable.
        device: where networks compute them.
    """

    def __init__(
        self,
        utterances: Iterable[tuple[str, np.ndarray]],
        options: InferenceOptions,
        ivectors: IvectorSource | None = None,
        max_bad_share: float = DEFAULT_MAX_BAD_SHARE,
        device: torch.device | None = None,
    ) -> None:
        self.utterances = list(utterances)
        self.options = options
        self.ivectors = ivectors
        self.max_bad_share = max_bad_share
        self.device = device or torch.device("cpu")

    @property
    def names(self) -> list[str]:
        """Those of the utterances."""
        return [name for name, _ in self.utterances]

    def keep(self, names: Iterable[str]) -> None:
        """Takes out all utterances but these."""
        kept = set(names)
        self.utterances = [(name, feats) for name, feats in self.utterances if name in kept]

    def _with(self, utterances: list[tuple[str, np.ndarray]]) -> UtteranceSet:
        return UtteranceSet(utterances, self.options, self.ivectors, self.max_bad_share, self.device)

    def some(self, number: int = 20) -> UtteranceSet:
        """At most so many of the utterances, evenly chosen."""
        count = len(self.utterances)
        chosen = range(count) if count <= number else [i * count // number for i in range(number)]
        return self._with([self.utterances[i] for i in chosen])

    def one_by_one(self) -> Iterator[UtteranceSet]:
        """Each utterance by itself."""
        return (self._with([utterance]) for utterance in self.utterances)

    def run(self, model: Executable | Runnable, what: str = "") -> None:
        """Computes all utterances, for what the model's taps and watchers see.

        Args:
            model: the network; it is moved to the device.
            what: what this is for, for the report of progress; empty where other work is reported that it is part of.

        Raises:
            DataError: too many utterances cannot be used.
        """
        bad = BadUtterances(self.max_bad_share)
        usable = set()
        with progress(len(self.utterances), what, brief=True) if what else nullcontext() as advance:
            for name, _ in self.outputs(model.to(self.device), bad):
                usable.add(name)
                if advance is not None:
                    advance(1)
        bad.check()
        # Said once is enough: further runs do without the bad ones.
        self.keep(usable)

    def outputs(
        self, model: Executable | Runnable, bad: BadUtterances | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The log-likelihoods of a network, utterance by utterance: (frames, pdfs) float32.

        Args:
            model: the network; it computes where it is.
            bad: is told of utterances that cannot be used; by default they are left out.
        """
        return Inference(cast(Runnable, model), None, self.options, self.ivectors, bad).compute(self.utterances)

    def amount(self) -> int:
        """Frames of features."""
        return sum(len(feats) for _, feats in self.utterances)

    def digest(self) -> str:
        """What tells names, features and i-vectors from others, wherever they lie, and how they are run."""
        about = f"{self.options} {self.max_bad_share} {self.device.type}"
        return hashlib.sha256(f"{about} {utterances_digest(self.utterances, self.ivectors)}".encode()).hexdigest()


def utterances_digest(
    utterances: Iterable[tuple[str, np.ndarray]], ivectors: Callable[[str], np.ndarray | None] | None = None
) -> str:
    """A digest of utterances' names and features, and of their i-vectors, the same wherever they lie.

    Args:
        utterances: (name, features) pairs.
        ivectors: tells those of an utterance, for networks that take them.
    """
    digest = hashlib.sha256()
    for name, feats in utterances:
        for values in (feats, ivectors(name) if ivectors is not None else None):
            if values is not None:
                digest.update(encode(f"{name}\0{values.shape}{values.dtype.str}\0"))
                digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
