"""What a band plays: key, chords, and the notes of each part, all of which follow from random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.frontends.separation.synthetic.bands import Band
from kaldi_quant.frontends.signals.noise_ranges import draw
from kaldi_quant.units import Hertz, Seconds

#: Numbers of notes as of MIDI: 69 is the A of 440 Hz, 12 are an octave.
Pitch = int
#: Sixteenths of a bar.
STEPS = 16

_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Usual progressions, as degrees of the scale, counted from 0.
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 0, 4), (1, 4, 0, 0), (0, 2, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 5, 3, 4), (3, 0, 6, 2), (0, 2, 6, 3)),
}
# Keys of the bass, as the lowest notes of songs.
_KEYS = (33, 44)


@dataclass(frozen=True)
class Note:
    """A note.

    Attributes:
        begin: in s.
        length: in s.
        pitch: of it.
        loudness: from 0 to 1.
    """

    begin: Seconds
    length: Seconds
    pitch: Pitch
    loudness: float


@dataclass(frozen=True)
class Song:
    """A song.

    Attributes:
        step: how long a sixteenth lasts, in s.
        bars: how many.
        key: the lowest note of the bass, the root of the scale.
        scale: semitones above the key.
        chords: the degree of the root, of each bar.
        size: notes of a chord, 3 or 4.
    """

    step: Seconds
    bars: int
    key: Pitch
    scale: tuple[int, ...]
    chords: tuple[int, ...]
    size: int

    def pitch(self, degree: int) -> Pitch:
        """A note of the scale, counted from the key; it may be negative or beyond an octave."""
        octave, place = divmod(degree, len(self.scale))
        return self.key + 12 * octave + self.scale[place]

    def chord(self, bar: int) -> list[int]:
        """The degrees of a bar's chord."""
        return [self.chords[bar] + 2 * number for number in range(self.size)]

    def time(self, bar: int, step: float) -> Seconds:
        """When a sixteenth of a bar begins."""
        return (bar * STEPS + step) * self.step


def frequency(pitch: float) -> float:
    """Of a note, in Hz."""
    return float(440.0 * 2 ** ((pitch - 69) / 12))


def drawn_song(band: Band, seconds: Seconds, random: np.random.Generator) -> Song:
    """A song of at least so many seconds."""
    step = 60 / draw(random, band.tempos) / (STEPS // 4)
    bars = int(np.ceil(seconds / (STEPS * step)))
    mode = ("major", "minor")[int(random.integers(2))]
    progressions = _PROGRESSIONS[mode]
    chords = progressions[int(random.integers(len(progressions)))]
    key = int(random.integers(*_KEYS))
    size = 3 + int(random.random() < 0.3)
    return Song(step, bars, key, _SCALES[mode], tuple(chords[bar % len(chords)] for bar in range(bars)), size)


def samples_of(seconds: Seconds, rate: Hertz) -> int:
    """Of a time, rounded; at least one."""
    return max(1, round(seconds * rate))
