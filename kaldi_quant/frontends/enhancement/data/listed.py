"""The layout of the embedded set: clean speech that a table lists, mixed when it is read."""

from __future__ import annotations

from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.data.layouts import LAYOUTS, Layout
from kaldi_quant.frontends.enhancement.data.mixtures import FixedMixtures, Mixtures
from kaldi_quant.frontends.enhancement.data.options import MixOptions
from kaldi_quant.frontends.enhancement.data.pairs import EnhancementSet
from kaldi_quant.frontends.enhancement.data.reading import ReadOptions, kept
from kaldi_quant.frontends.speech.conditions import CONDITIONS, HEARD, UNHEARD
from kaldi_quant.frontends.speech.speech import Speech
from kaldi_quant.frontends.speech.table import TABLE, read_utterances

NAME = "listed"
# Development and test do not depend on how training mixes: speech as loud as it is, and always the same noise.
_DEV = MixOptions(conditions=HEARD, levels=None)
_TEST = MixOptions(conditions=UNHEARD, levels=None)


def _found(folder: Path, options: ReadOptions) -> bool:
    return (folder / TABLE).exists()


def _read(folder: Path, mixing: MixOptions | None, options: ReadOptions) -> EnhancementSet:
    utterances = read_utterances(folder)
    numbers = options.numbers
    for split, found in utterances.items():
        for utterance in found:
            if utterance.noise and utterance.noise not in CONDITIONS[HEARD].noises:
                kinds = ", ".join(CONDITIONS[HEARD].noises)
                raise DataError(
                    f"{folder / TABLE}: the noise {utterance.noise!r} of {utterance.name} is not one of {kinds}"
                )
        utterances[split] = kept(found, numbers[split], split, options.random_seed)
    speech = {split: Speech(found, options.sample_rate) for split, found in utterances.items()}
    return EnhancementSet(
        NAME,
        options.sample_rate,
        Mixtures(speech["train"], mixing or MixOptions()),
        FixedMixtures(speech["dev"], _DEV),
        FixedMixtures(speech["test"], _TEST),
    )


LAYOUTS.add(NAME)(Layout(f"the table {TABLE}", _found, _read))
