"""Mixtures of speakers, made when they are asked for: others on each pass for training, else always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.items import check_index
from kaldi_quant.frontends.separation.data.mixing import mixed
from kaldi_quant.frontends.separation.data.mixtures import Mixture
from kaldi_quant.frontends.separation.data.options import TASKS, MixOptions
from kaldi_quant.frontends.speech.conditions import CONDITIONS
from kaldi_quant.frontends.speech.speakers import Speakers
from kaldi_quant.frontends.speech.speech import Speech
from kaldi_quant.frontends.synthetic.seeds import seeded

# What is mixed alike has the same digest; to be raised where mixtures become others.
_VERSION = 1


class _Mixed:
    """Several who speak at the same time.

    Args:
        speech: of a split.
        count: who speak in a mixture.
        task: a name of ``TASKS``.
        options: how they are mixed.

    Raises:
        DataError: there are fewer speakers.
    """

    def __init__(self, speech: Speech, count: int, task: str, options: MixOptions) -> None:
        self.speech, self.speakers, self.count = speech, Speakers(speech), count
        self.task, self.options = task, options
        if len(self.speakers.places) < count:
            raise DataError(f"expected {count} speakers or more for a mixture, found {len(self.speakers.places)}")

    def _mixture(
        self, name: str, places: Sequence[int], begins: Sequence[float], random: np.random.Generator
    ) -> Mixture:
        """What begins with these utterances, each at a share of it."""
        rate, options = self.speech.rate, self.options
        samples = round(options.seconds * rate)
        waves = [self.speakers.said(place, samples, begin) for place, begin in zip(places, begins, strict=True)]
        voices = self.speech.others(*map(self._speaker, places)) if TASKS[self.task].is_noisy else ()
        return mixed(name, waves, voices, rate, TASKS[self.task], options, random)

    def _speaker(self, place: int) -> str:
        return self.speech.utterances[place].speaker

    def _digest(self, more: object) -> str:
        found = hashlib.sha256(f"{_VERSION} {self.options} {self.task} {self.count} {more}".encode())
        if TASKS[self.task].is_noisy:
            found.update(repr(CONDITIONS[self.options.conditions]).encode())
        self.speech.update(found)
        return found.hexdigest()


class SpeechMixtures(_Mixed):
    """A ``TrainingSource``: each utterance once in a pass, each time with what others say.

    Args:
        speech: of a split.
        count: who speak in a mixture.
        task: a name of ``TASKS``.
        options: how they are mixed.
        length: items of a pass; 0 for as many as there are utterances.

    Raises:
        DataError: there are fewer speakers.
    """

    def __init__(self, speech: Speech, count: int, task: str, options: MixOptions, length: int = 0) -> None:
        super().__init__(speech, count, task, options)
        self.length = length or len(speech)

    def __len__(self) -> int:
        return self.length

    def item(self, index: int, number_of_pass: int) -> Mixture:
        """As of ``TrainingSource``."""
        index = check_index(index, len(self))
        random = np.random.default_rng([self.options.seed, number_of_pass, index])
        places = [index % len(self.speech)]
        while len(places) < self.count:
            other = int(random.integers(len(self.speech)))
            if self._speaker(other) not in map(self._speaker, places):
                places.append(other)
        return self._mixture(f"item{index}", places, random.random(len(places)).tolist(), random)

    def digest(self) -> str:
        """As of ``TrainingSource``."""
        return self._digest(("train", self.length))


class FixedSpeechMixtures(_Mixed):
    """``Mixtures`` in which each speaker is heard as often as any other, as far as their number allows.

    Args:
        speech: of a split.
        count: who speak in a mixture.
        task: a name of ``TASKS``.
        options: how they are mixed.
        length: mixtures.

    Raises:
        DataError: there are fewer speakers.
    """

    def __init__(self, speech: Speech, count: int, task: str, options: MixOptions, length: int) -> None:
        super().__init__(speech, count, task, options)
        self.places = list(self._drawn(length))

    def _drawn(self, length: int) -> Iterator[list[int]]:
        """The utterances of each mixture: in a round each speaker is heard once in each role."""
        known = sorted(self.speakers.places)
        for place in range(length):
            number, turn = divmod(place, len(known))
            random = seeded(self.options.seed, "round", str(number))
            order = random.permutation(len(known))
            steps = random.permutation(len(known) - 1)[: self.count - 1] + 1
            who = [known[order[(turn + step) % len(known)]] for step in (0, *steps.tolist())]
            own = [self.speakers.places[name] for name in who]
            yield [said[(number + role) % len(said)] for role, said in enumerate(own)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Mixture:
        index = check_index(index, len(self))
        names = [self.speech.utterances[place].name for place in self.places[index]]
        name = f"{index:03d}_{'_'.join(names)}"
        return self._mixture(name, self.places[index], [0.0] * self.count, seeded(self.options.seed, "mixture", name))

    def __iter__(self) -> Iterator[Mixture]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """As of ``Mixtures``."""
        return self._digest(self.places)
