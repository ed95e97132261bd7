"""Makes the clean speech of the embedded set and its table; noise and rooms are made when it is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kaldi_quant.frontends.enhancement.synthetic.texts import as_read, sentences_of, spelled
from kaldi_quant.frontends.speech.table import COLUMNS, NO, SPLITS, TABLE, YES
from kaldi_quant.frontends.synthetic.files import FRAME, write_flac, write_opus, write_table
from kaldi_quant.frontends.synthetic.programs import check_programs
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.frontends.synthetic.utterances import say_within
from kaldi_quant.frontends.synthetic.voices import Speaker, speakers
from kaldi_quant.progress import progress
from kaldi_quant.units import Hertz, Seconds

RATE: Hertz = 16000
# About 17 kbit/s, at which one voice sounds clean. The test is not coded at all: it is what scores compare with.
_COMPRESSION = 0.95
_SHORTEST: Seconds = 1.8
_LONGEST: Seconds = 3.2
_FLAC = "test"


@dataclass(frozen=True)
class SpeechOptions:
    """How much is said, and with what that of dev and test is mixed.

    Attributes:
        sentences: split → of each speaker.
        spelled: split → utterances of letters and digits, of each speaker.
        noises: kinds, each of which meets each of the ratios.
        snrs: ratios of speech to noise, in dB.
        every_room: one utterance of so many is heard in a room.
    """

    sentences: Mapping[str, int] = field(default_factory=lambda: {"train": 2, "dev": 3, "test": 2})
    spelled: Mapping[str, int] = field(default_factory=lambda: {"train": 1, "dev": 2, "test": 1})
    noises: tuple[str, ...] = ("coloured", "babble", "hum", "clicks", "machine")
    snrs: tuple[int, ...] = (0, 5, 10, 15)
    every_room: int = 3


@dataclass(frozen=True)
class _Said:
    """An utterance: its name behind the speaker's, what is said, as programs read it, and its samples."""

    name: str
    text: str
    read: str


def make_data(folder: Path, seed: int, options: SpeechOptions | None = None) -> str:
    """Writes the table and a file for each speaker.

    Args:
        folder: where; files that are there are written over.
        seed: everything follows from it.
        options: as ``SpeechOptions`` has them where None.

    Returns:
        The SHA-256 of all samples before they are coded, in hex: the same for the same seed and versions of
        espeak-ng, flite, numpy and soxr.

    Raises:
        MissingDependencyError: espeak-ng or flite is not installed.
        DataError: one of them fails, or the folder cannot be written.
    """
    options = options or SpeechOptions()
    check_programs()
    speaking = list(_texts(seed, options))
    digest, rows = hashlib.sha256(), []
    # Threads wait for the programs, which are processes of their own.
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(len(speaking), "speaking", "speakers") as advance:
        for (speaker, said), waves in zip(speaking, pool.map(lambda entry: _spoken(*entry), speaking), strict=True):
            coding = "flac" if speaker.split == _FLAC else "opus"
            file = f"{speaker.split}/{speaker.name}.{coding}"
            start = 0
            for entry, wave in zip(said, waves, strict=True):
                name, about = f"{speaker.name}-{entry.name}", {"split": speaker.split, "speaker": speaker.name}
                place = {"file": file, "start": start, "samples": len(wave)}
                rows.append({"name": name, **about, **place, "text": entry.text})
                start += len(wave)
            whole = np.round(np.concatenate(waves) * 32767).astype("<i2")
            digest.update(whole.tobytes())
            if coding == "flac":
                write_flac(folder / file, whole, RATE)
            else:
                write_opus(folder / file, np.concatenate(waves), RATE, _COMPRESSION)
            advance(1)
    write_table(folder / TABLE, COLUMNS, _with_conditions(rows, seed, options))
    return digest.hexdigest()


def _texts(seed: int, options: SpeechOptions) -> Iterator[tuple[Speaker, list[_Said]]]:
    """What each speaker says."""
    texts = {split: sentences_of(split, seeded(seed, "sentences", split)) for split in SPLITS}
    for speaker in speakers():
        random = seeded(seed, "spelled", speaker.name)
        said = []
        for number in range(options.sentences[speaker.split]):
            text = next(texts[speaker.split])
            said.append(_Said(f"sentence{number}", text, text))
        for number in range(options.spelled[speaker.split]):
            words = spelled(random)
            said.append(_Said(f"spelled{number}", " ".join(words), as_read(words)))
        yield speaker, said


def _spoken(speaker: Speaker, said: list[_Said]) -> list[np.ndarray]:
    """(n,) float32 of each; so many samples that each begins a frame of the codec."""
    found = []
    for entry in said:
        wave = say_within(speaker, entry.read, RATE, _SHORTEST, _LONGEST)
        found.append(np.pad(wave, (0, -len(wave) % round(FRAME * RATE))))
    return found


def _with_conditions(rows: list[dict[str, object]], seed: int, options: SpeechOptions) -> Iterator[dict[str, object]]:
    """Rows with noise, ratio and room: all pairs of noise and ratio come about equally often, in random order."""
    conditions = [(noise, snr) for noise in options.noises for snr in options.snrs]
    drawn: dict[str, Iterator[dict[str, object]]] = {}
    for split in SPLITS[1:]:
        count = sum(row["split"] == split for row in rows)
        mixed = []
        for place in seeded(seed, "conditions", split).permutation(count):
            noise, snr = conditions[place % len(conditions)]
            room = YES if place // len(conditions) % options.every_room == options.every_room - 1 else NO
            mixed.append({"noise": noise, "snr": snr, "room": room})
        drawn[split] = iter(mixed)
    for row in rows:
        yield row | (next(drawn[str(row["split"])]) if row["split"] in drawn else dict.fromkeys(COLUMNS[6:9], ""))
