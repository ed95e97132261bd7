"""Makes clean sentences of many voices: what a noise suppressor learns from and is measured on, once noise is added."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kaldi_quant.frontends.keywords.synthetic.clips import trim
from kaldi_quant.frontends.signals.level import active_rms
from kaldi_quant.frontends.synthetic.files import write_opus, write_table
from kaldi_quant.frontends.synthetic.programs import speak
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.frontends.synthetic.voices import FLITE, Speaker, speakers
from kaldi_quant.units import Hertz, Seconds

RATE: Hertz = 16000
TABLE = "sentences.tsv"
COLUMNS = ("name", "speaker", "split", "file", "text")

_NUMBER = {"train": 40, "dev": 10, "test": 20}
# About 24 kbit/s, at which 2 to 4 seconds of one voice alone sound clean.
_COMPRESSION = 0.93
_SHORTEST: Seconds = 2.0
_LONGEST: Seconds = 4.0
# Before the first word and behind the last.
_PAUSE: Seconds = 0.2
# The usual level of speech in tests of suppressors, dB below full scale (ITU-T P.56).
_DBFS = -26.0
# No sample is beyond it, of full scale.
_PEAK = 0.99

_PARTS = (
    "the old man, my sister, a young driver, the tall woman, our neighbour, the captain, a quiet student, the baker",
    "carried, painted, found, sold, forgot, repaired, borrowed, described",
    "a small blue boat, seven paper boxes, the wooden chair, his grey coat, some fresh bread, the broken clock, "
    "a large map, two silver keys",
    "near the river, before the rain began, on Thursday morning, behind the school, after a short rest, in the garden, "
    "at the top of the hill, with great care",
)


def make_sentences(folder: Path, seed: int) -> None:
    """Writes ``sentences.tsv`` and a file for each sentence.

    Args:
        folder: where.
        seed: everything follows from it.

    Raises:
        KaldiQuantError: a program is missing or fails, or the folder cannot be written.
    """
    rows: list[dict[str, str]] = []
    random = seeded(seed, "sentences")
    # Each is said once in the whole set, so that no text of the test is heard in training.
    choices = [part.split(", ") for part in _PARTS]
    places = random.permutation(np.prod([len(choice) for choice in choices]))
    for speaker, place in zip(_chosen(random), places, strict=False):
        indices = np.unravel_index(place, [len(choice) for choice in choices])
        text = " ".join(choice[index] for choice, index in zip(choices, indices, strict=True))
        sentence = f"{text[0].upper()}{text[1:]}."
        name = f"{speaker.name}-{len(rows):02}"
        write_opus(folder / f"{name}.opus", _say(speaker, sentence), RATE, _COMPRESSION)
        rows.append(
            {"name": name, "speaker": speaker.name, "split": speaker.split, "file": f"{name}.opus", "text": sentence}
        )
    write_table(folder / TABLE, COLUMNS, rows)


def _chosen(random: np.random.Generator) -> list[Speaker]:
    """A speaker for each sentence; voices of flite first, which sound most like people."""
    found = []
    for split, number in _NUMBER.items():
        those = [speaker for speaker in speakers() if speaker.split == split]
        drawn = [those[place] for place in random.permutation(len(those))]
        drawn.sort(key=lambda speaker: speaker.program != FLITE)
        found += [drawn[place % len(drawn)] for place in range(number)]
    return found


def _say(speaker: Speaker, sentence: str) -> np.ndarray:
    """(n,) float32 at the usual level, with a pause at both ends, of a tempo at which it takes 2 to 4 seconds."""
    speech = trim(speak(speaker, sentence, RATE))
    tempo = len(speech) / RATE / np.clip(len(speech) / RATE, _SHORTEST, _LONGEST - 2 * _PAUSE)
    if tempo != 1:
        speech = trim(speak(speaker, sentence, RATE, 1.05 * tempo))
    pause = np.zeros(round(_PAUSE * RATE), np.float32)
    gain = min(10 ** (_DBFS / 20) / active_rms(speech, RATE), _PEAK / float(np.abs(speech).max()))
    return np.concatenate([pause, speech * gain, pause]).astype(np.float32)
