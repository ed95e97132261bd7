"""Makes clean sentences of many voices: what a noise suppressor learns from and is measured on, once noise is added."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kaldi_quant.frontends.synthetic.files import write_opus, write_table
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.frontends.synthetic.utterances import say_within, sentences
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
    texts = sentences([part.split(", ") for part in _PARTS], random)
    for speaker, sentence in zip(_chosen(random), texts, strict=False):
        name = f"{speaker.name}-{len(rows):02}"
        write_opus(
            folder / f"{name}.opus", say_within(speaker, sentence, RATE, _SHORTEST, _LONGEST), RATE, _COMPRESSION
        )
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
