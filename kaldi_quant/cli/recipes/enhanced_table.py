"""What enhancement does to words: word error rates by noise and ratio, and differences with their significance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.cli.recipes.noisy_words import CLEAN, SOURCE
from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.scores.conditions import Condition, read_conditions
from kaldi_quant.kaldi.text_tables import read_text_map
from kaldi_quant.report.cells import Table
from kaldi_quant.report.files.decode_folder import FixedPoint, read_folder
from kaldi_quant.report.pages.lines import Lines
from kaldi_quant.report.significance.bootstrap import Bootstrap, PairedDifference
from kaldi_quant.report.versus import LEVEL

#: Without enhancement.
NONE = "none"
ALL = "all"

ABOUT_RATES = "In %, of each enhancement and acoustic model; n is how many utterances."
ABOUT_DIFFERENCES = (
    "Differences of word error rates in % absolute, with 95 % intervals: below 0 are fewer errors. * is significant (p "
    "below 0.05). The bootstrap draws recordings of the original data, with all that was made of each: utterances that "
    "are one recording with several noises are not independent."
)


@dataclass(frozen=True)
class Subset:
    """Some of the utterances.

    Attributes:
        noise, ratio: what they are, in words.
        names: of them.
    """

    noise: str
    ratio: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """What one choice does to words, on some of the utterances.

    Attributes:
        subset: which.
        versus: the difference of word error rates, in % absolute.
        significant: whether chance gives it more rarely than one in twenty.
    """

    subset: Subset
    versus: PairedDifference
    significant: bool


class WordTable:
    """The results of all combinations of enhancement and acoustic model.

    Args:
        folders: (enhancement, acoustic model) → its decode folder.
        data: the data folder of noisy speech.
        fixed: where in the sweep; without restriction each folder stands at its own best point.
        replications, seed: of the bootstrap.

    Raises:
        KaldiQuantError: a folder cannot be read, or was scored on other utterances.
    """

    def __init__(
        self,
        folders: Mapping[tuple[str, str], Path],
        data: Path,
        fixed: FixedPoint,
        replications: int,
        seed: int,
    ) -> None:
        self.systems = tuple(folders)
        read = [read_folder(path, "/".join(system), fixed) for system, path in folders.items()]
        self.points = {system: folder.point for system, folder in zip(folders, read, strict=True)}
        scores = [folder.score for folder in read]
        conditions = read_conditions(data)
        source = {name: words[0] for name, words in read_text_map(data / SOURCE).items()}
        for folder, score in zip(read, scores, strict=True):
            lacking = [name for name in conditions if name not in score.per_unit]
            if lacking:
                raise DataError(f"{folder.path} has no words for {lacking[0]} ({len(lacking)} in all)")
        self.subsets = subsets_of(conditions)
        self._errors = {name: [score.per_unit[name] for score in scores] for name in conditions}
        assert scores[0].out_of is not None
        self._words = {name: scores[0].out_of[name] for name in conditions}
        self._source, self._draws = source, (replications, seed)
        self._cache: dict[Subset, tuple[Bootstrap, np.ndarray[Any, Any]]] = {}

    def rate(self, subset: Subset, system: tuple[str, str]) -> float:
        """The word error rate in %."""
        place = self.systems.index(system)
        words = sum(self._words[name] for name in subset.names)
        return 100.0 * sum(self._errors[name][place] for name in subset.names) / words

    def effect(self, subset: Subset, system: tuple[str, str], reference: tuple[str, str]) -> Effect:
        """One system against another."""
        bootstrap, amounts = self._bootstrap(subset)
        one, other = self.systems.index(system), self.systems.index(reference)
        versus = bootstrap.compare(one, other)
        differing = int(np.count_nonzero(amounts[:, one] != amounts[:, other]))
        # So often chance alone gives all differences of so few recordings one sign.
        p_value = max(versus.p_value, min(1.0, 2.0 ** (1 - differing)))
        return Effect(subset, versus, p_value < LEVEL)

    def _bootstrap(self, subset: Subset) -> tuple[Bootstrap, np.ndarray[Any, Any]]:
        if subset not in self._cache:
            places = {
                name: number for number, name in enumerate(dict.fromkeys(self._source[name] for name in subset.names))
            }
            amounts, words = np.zeros((len(places), len(self.systems))), np.zeros(len(places))
            for name in subset.names:
                amounts[places[self._source[name]]] += self._errors[name]
                words[places[self._source[name]]] += self._words[name]
            self._cache[subset] = Bootstrap(amounts, words, *self._draws, scale=100.0), amounts
        return self._cache[subset]

    def rates(self) -> Table:
        """Of all systems and subsets."""
        body = [
            [
                subset.noise,
                subset.ratio,
                str(len(subset.names)),
                *(f"{self.rate(subset, one):.2f}" for one in self.systems),
            ]
            for subset in self.subsets
        ]
        return Table(["noise", "SNR, dB", "n", *("/".join(system) for system in self.systems)], body)

    def effects(self, pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]]) -> Table:
        """Of systems against others, on each subset."""
        body = []
        for subset in self.subsets:
            found = [self.effect(subset, *pair) for pair in pairs]
            body.append([subset.noise, subset.ratio, *map(_shown, found)])
        return Table(["noise", "SNR, dB", *(f"{'/'.join(one)}" for one, _ in pairs)], body)

    def lines(self) -> Lines:
        """Word error rates by ratio, over all noises."""
        chosen = [subset for subset in self.subsets if subset.noise == ALL and subset.ratio != ALL]
        series = {
            "/".join(system): [(float(subset.ratio), self.rate(subset, system)) for subset in chosen]
            for system in self.systems
        }
        title = "Words by ratio"
        return Lines(title, "Over all kinds of noise; lower is better.", "ratio, dB", "word error rate, %", series)

    def verdicts(self) -> list[str]:
        """What enhancement does to words, in both directions, in sentences."""
        found = []
        noisy, clean = (next(each for each in self.subsets if each.noise == noise) for noise in (ALL, CLEAN))
        noisy = next(each for each in self.subsets if (each.noise, each.ratio) == (ALL, ALL))
        for name, model in self.systems:
            if name != NONE:
                parts = [
                    f"{_direction(self.effect(subset, (name, model), (NONE, model)))} {where}"
                    for subset, where in ((noisy, "in noisy speech"), (clean, "where no noise was added"))
                ]
                found.append(f"{name}, acoustic model {model}: {' and '.join(parts)}")
        return found


def subsets_of(conditions: Mapping[str, Condition]) -> list[Subset]:
    """Speech without noise, each noise at each ratio, each noise, each ratio, and all that has noise."""
    noises = list(dict.fromkeys(each.noise for each in conditions.values() if each.snr is not None))
    snrs = sorted({each.snr for each in conditions.values() if each.snr is not None})
    found = [Subset(CLEAN, "-", tuple(name for name, each in conditions.items() if each.snr is None))]
    for noise in (*noises, None):
        for snr in (*snrs, None):
            names = tuple(
                name
                for name, each in conditions.items()
                if each.snr is not None and noise in (None, each.noise) and snr in (None, each.snr)
            )
            found.append(Subset(noise or ALL, ALL if snr is None else f"{snr:g}", names))
    return found


def _shown(effect: Effect) -> str:
    """``-3.10 [-6.02,-0.41]*``."""
    versus = effect.versus
    interval = f"[{versus.interval.low:+.2f},{versus.interval.high:+.2f}]"
    return f"{versus.difference:+.2f} {interval}{'*' if effect.significant else ''}"


def _direction(effect: Effect) -> str:
    """``3.10 % absolute fewer errors``, and whether that is shown."""
    difference = effect.versus.difference
    if difference == 0:
        return "as many errors"
    kind = "fewer" if difference < 0 else "more"
    return f"{abs(difference):.2f} % absolute {kind} errors ({'significant' if effect.significant else 'not shown'})"
