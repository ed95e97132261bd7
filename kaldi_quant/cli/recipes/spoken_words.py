"""A Kaldi data folder of letters and digits, spoken by synthetic voices of the test: as many as are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.cli.recipes.noisy_words import write_lines, write_waves
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.features.speakers import by_speaker
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.progress import progress
from kaldi_quant.units import Hertz, Seconds

#: What stands in the folder, the first as its sign.
FILES = ("wav.scp", "wav.ark", "text", "utt2spk", "spk2utt")
_SPLIT = "test"
# As the recordings of egs/alphadigits are: from slow to hurried, in dB below full scale.
_TEMPOS, _LEVELS = (0.9, 1.25), (-28.0, -16.0)
_PAUSE: Seconds = 0.25
# Of the microphone's own noise, in dB below full scale. Acoustic models are trained with some: in digital silence that
# of egs/alphadigits has 44 % of the words wrong, with it 7 %.
_FLOORS = (-55.0, -45.0)


@dataclass(frozen=True)
class _Utterance:
    """Who says what, and how."""

    name: str
    speaker: Any
    words: tuple[str, ...]
    tempo: float
    level: float
    floor: float
    seed: int


def check_spoken(number: int, word_table: Path) -> None:
    """Refuses what cannot be spoken.

    Args:
        number: of utterances.
        word_table: of the graph.

    Raises:
        MissingDependencyError: espeak-ng or flite is not installed.
        UsageError: the number is none.
        DataError: the graph does not know all letters and digits, so that they could not be recognised.
    """
    from kaldi_quant.frontends.enhancement.synthetic.texts import SPELLED
    from kaldi_quant.frontends.synthetic.programs import check_programs

    if number < 1:
        raise UsageError(f"--synthesise: expected a number of utterances above 0, found {number}")
    lacking = sorted(set(SPELLED) - set(read_symbol_table(word_table).values()))
    if lacking:
        raise DataError(f"{word_table} lacks {', '.join(lacking[:5])}: letters and digits cannot be recognised with it")
    check_programs()


def speak_words(out: Path, number: int, seed: int, rate: Hertz) -> None:
    """Makes the data folder.

    Args:
        out: for the files of ``FILES``.
        number: of utterances, about as many of each speaker.
        seed: all follows from it and from the utterance's number.
        rate: of the audio, in Hz.

    Raises:
        DataError: a program that speaks fails.
    """
    utterances = list(_utterances(number, seed))
    # Threads wait for the programs, which are processes of their own.
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(number, "speaking", "utterances") as advance:

        def spoken() -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
            for utterance, wave in zip(utterances, pool.map(lambda one: _said(one, rate), utterances), strict=True):
                advance(1)
                yield utterance.name, wave

        write_waves(out, spoken(), rate)
    speakers = {one.name: one.speaker.name for one in utterances}
    write_lines(out / "text", {one.name: " ".join(one.words) for one in utterances})
    write_lines(out / "utt2spk", speakers)
    write_lines(out / "spk2utt", {speaker: " ".join(names) for speaker, names in by_speaker(speakers).items()})


def _utterances(number: int, seed: int) -> Iterator[_Utterance]:
    """Sorted by their names."""
    from kaldi_quant.frontends.enhancement.synthetic.texts import spelled
    from kaldi_quant.frontends.synthetic.seeds import seeded
    from kaldi_quant.frontends.synthetic.voices import speakers

    voices = [speaker for speaker in speakers() if speaker.split == _SPLIT]
    found = []
    for place in range(number):
        speaker, random = voices[place % len(voices)], seeded(seed, "spoken words", str(place))
        words = spelled(random)
        tempo, level, floor = (float(random.uniform(*ends)) for ends in (_TEMPOS, _LEVELS, _FLOORS))
        name, noise = f"{speaker.name}-{place:05d}", int(random.integers(1 << 31))
        found.append(_Utterance(name, speaker, words, tempo, level, floor, noise))
    yield from sorted(found, key=lambda one: one.name)


def _said(utterance: _Utterance, rate: Hertz) -> np.ndarray[Any, Any]:
    from kaldi_quant.frontends.enhancement.synthetic.texts import as_read
    from kaldi_quant.frontends.signals.level import at_level, trim
    from kaldi_quant.frontends.synthetic.programs import speak

    wave = trim(speak(utterance.speaker, as_read(utterance.words), rate, utterance.tempo))
    wave = np.pad(at_level(wave, utterance.level), round(_PAUSE * rate))
    floor = np.random.default_rng(utterance.seed).standard_normal(len(wave)) * 10 ** (utterance.floor / 20)
    return (wave + floor).astype(np.float32)
