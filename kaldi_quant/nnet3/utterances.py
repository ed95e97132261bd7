"""Utterances that networks are calibrated and measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from kaldi_quant.bad_utterances import DEFAULT_MAX_BAD_SHARE, BadUtterances
from kaldi_quant.kaldi.text import encode
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference
from kaldi_quant.nnet3.inference_options import InferenceOptions
from kaldi_quant.nnet3.ivectors_in_time import IvectorSource
from kaldi_quant.nnet3.runnable import Runnable
from kaldi_quant.quant.host import Executable
from kaldi_quant.quant.listed_data import ListedData
from kaldi_quant.units import Frames


class UtteranceSet(ListedData[np.ndarray]):
    """Utterances, and how to run them: the ``Data`` of nnet3 networks.

    Args:
        utterances: (name, features) pairs, features: (frames, dim) float32.
        options: how a network computes them.
        ivectors: tells their i-vectors, where the network has that input.
        max_bad_share: how many utterances may be unusable.
        device: where networks compute them.

    Attributes:
        chosen: of which chunks of an utterance the output is wanted, by number (``drawn``); of others that of all.
    """

    def __init__(
        self,
        utterances: Iterable[tuple[str, np.ndarray]],
        options: InferenceOptions,
        ivectors: IvectorSource | None = None,
        max_bad_share: float = DEFAULT_MAX_BAD_SHARE,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(utterances, "utterances", max_bad_share, device)
        self.options = options
        self.ivectors = ivectors
        self.chosen: dict[str, list[int]] = {}

    @property
    def utterances(self) -> list[tuple[str, np.ndarray]]:
        """(name, features) pairs."""
        return self.units

    def outputs(
        self, model: Executable | Runnable, bad: BadUtterances | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The log-likelihoods of a network, utterance by utterance: (frames, pdfs) float32.

        Args:
            model: the network; it computes where it is.
            bad: is told of utterances that cannot be used; by default they are left out.
        """
        return self._inference(model, bad).compute(self.utterances)

    def _usable(self, model: Executable, bad: BadUtterances) -> Iterator[str]:
        return self._inference(model, bad).usable(self.utterances)

    def calls(self, model: Executable | Runnable) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What a network is called with to compute them, batch after batch, on its device."""
        return ((call, {}) for call in self._inference(model).calls(self.utterances))

    def _inference(self, model: Executable | Runnable, bad: BadUtterances | None = None) -> Inference:
        return Inference(cast(Runnable, model), None, self.options, self.ivectors, bad, self.chosen)

    def of_chunks(self, chunks: ChunkOptions, chosen: Mapping[str, list[int]]) -> UtteranceSet:
        """Some chunks of some of the utterances.

        Args:
            chunks: how utterances are cut.
            chosen: for each utterance that is wanted the numbers of its chunks.
        """
        new = self._with([(name, feats) for name, feats in self.units if name in chosen])
        new.options, new.chosen = replace(self.options, chunks=chunks), dict(chosen)
        return new

    def amount(self) -> int:
        """Frames of features."""
        return sum(self._frames_of(name, len(feats)) for name, feats in self.utterances)

    def _frames_of(self, name: str, frames: Frames) -> Frames:
        if name not in self.chosen:
            return frames
        each = self.options.chunks.frames_per_chunk or frames
        return sum(min(each, frames - number * each) for number in self.chosen[name])

    def digest(self) -> str:
        """What tells names, features and i-vectors from others, wherever they lie, and how they are run."""
        about = f"{self.options} {self.max_bad_share} {self.device.type}"
        return hashlib.sha256(f"{about} {self.content()}".encode()).hexdigest()

    def content(self) -> str:
        """What tells names, features and i-vectors from others, and which chunks of them are chosen."""
        digest = utterances_digest(self.utterances, self.ivectors)
        if not self.chosen:
            return digest
        about = f"{digest} {self.options.chunks} {sorted(self.chosen.items())}"
        return hashlib.sha256(encode(about)).hexdigest()


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


def digest_of_sets(*sets: UtteranceSet | None) -> str:
    """What tells the utterances of some sets, and their i-vectors, from others."""
    some = [part for part in sets if part is not None]
    if any(part.ivectors is not None for part in some):
        return hashlib.sha256(encode(" ".join(part.content() for part in some))).hexdigest()
    return utterances_digest([utterance for part in some for utterance in part.utterances])
