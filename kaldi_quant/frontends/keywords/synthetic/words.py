"""Makes the recordings of words: several of each speaker and word, all of a speaker in one file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kaldi_quant.frontends.keywords.data.listed import COLUMNS, TABLE
from kaldi_quant.frontends.keywords.synthetic.clips import Conditions, make_clip
from kaldi_quant.frontends.signals.level import trim
from kaldi_quant.frontends.synthetic.files import FRAME, write_opus, write_table
from kaldi_quant.frontends.synthetic.programs import speak
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.frontends.synthetic.voices import Speaker, speakers
from kaldi_quant.progress import progress
from kaldi_quant.units import Hertz

RATE: Hertz = 16000
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")

# Each word, so often as it was said: (n,) float32.
Spoken = list[tuple[str, list[np.ndarray]]]

# Punctuation changes how espeak-ng and flite intone a word.
_ENDINGS = ("", ".", "?", "!")
_COMPRESSION = 0.967
# Of a split's words so many are in the babble of its recordings.
_BABBLE_WORDS = 40


@dataclass(frozen=True)
class WordOptions:
    """How many recordings there are, and what they are like.

    Attributes:
        each: split → recordings of each word and speaker.
        tempo: factors on the usual speed.
        pitch: 0 to 99.
        conditions: noise, rooms, levels.
    """

    each: Mapping[str, int] = field(default_factory=lambda: {"train": 1, "dev": 3, "test": 4})
    tempo: tuple[float, float] = (0.8, 1.25)
    pitch: tuple[int, int] = (30, 70)
    conditions: Conditions = field(default_factory=Conditions)


def make_words(folder: Path, seed: int, options: WordOptions | None = None) -> str:
    """Writes all recordings and their table.

    Args:
        folder: where; ``recordings.tsv`` and a folder for each split.
        seed: everything follows from it.
        options: as ``WordOptions`` has them where None.

    Returns:
        The SHA-256 of all samples before they are coded, in hex: the same for the same seed and programs.

    Raises:
        KaldiQuantError: a program is missing or fails, or the folder cannot be written.
    """
    options = options or WordOptions()
    found = speakers()

    def spoken_by(speaker: Speaker) -> Spoken:
        return _spoken(speaker, seeded(seed, "voice", speaker.name), options)

    spoken: dict[str, Spoken] = {}
    # Threads wait for the programs, which are processes of their own.
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(len(found), "speaking", "speakers") as advance:
        for speaker, words in zip(found, pool.map(spoken_by, found), strict=True):
            spoken[speaker.name] = words
            advance(1)
    digest, rows = hashlib.sha256(), []
    for speaker in found:
        file = f"{speaker.split}/{speaker.name}.opus"
        babble = _babble(speaker, found, spoken, seeded(seed, "babble", speaker.name))
        random = seeded(seed, "clips", speaker.name)
        clips = list(_clips(spoken[speaker.name], babble, random, options.conditions))
        start = 0
        for name, word, clip in clips:
            about = {"name": f"{name}-{speaker.name}", "class": word, "speaker": speaker.name, "split": speaker.split}
            rows.append({**about, "file": file, "start": start, "samples": len(clip)})
            start += len(clip)
        wave = np.concatenate([clip for _, _, clip in clips])
        digest.update(np.round(wave * 32767).astype("<i2").tobytes())
        write_opus(folder / file, wave, RATE, _COMPRESSION)
    write_table(folder / TABLE, COLUMNS, rows)
    return digest.hexdigest()


def _spoken(speaker: Speaker, random: np.random.Generator, options: WordOptions) -> Spoken:
    """Each word, so often as it is wanted."""

    def say(word: str) -> np.ndarray:
        ending = _ENDINGS[random.integers(len(_ENDINGS))]
        tempo, pitch = random.uniform(*options.tempo), int(random.integers(*options.pitch))
        return trim(speak(speaker, word + ending, RATE, tempo, pitch))

    return [(word, [say(word) for _ in range(options.each[speaker.split])]) for word in WORDS]


def _babble(
    speaker: Speaker,
    found: list[Speaker],
    spoken: Mapping[str, Spoken],
    random: np.random.Generator,
) -> list[np.ndarray]:
    """Words of others in the same split."""
    others = [other for other in found if other.split == speaker.split and other != speaker]
    words = [wave for other in others for _, waves in spoken[other.name] for wave in waves]
    return [words[place] for place in random.integers(len(words), size=_BABBLE_WORDS)]


def _clips(
    words: Spoken,
    babble: list[np.ndarray],
    random: np.random.Generator,
    conditions: Conditions,
) -> Iterator[tuple[str, str, np.ndarray]]:
    """(name without the speaker, word, recording) of each."""
    for word, waves in words:
        for number, wave in enumerate(waves):
            yield f"{word}-{number}", word, make_clip(wave, RATE, round(FRAME * RATE), conditions, random, babble)
