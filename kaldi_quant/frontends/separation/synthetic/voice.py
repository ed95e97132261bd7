"""A singer: a melody of vowels, whose pitch swings, with consonants of noise between them.

Source of the formants: G. Peterson and H. Barney, "Control methods used in a study of the vowels", 1952, of men.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kaldi_quant.frontends.separation.synthetic.bands import Band
from kaldi_quant.frontends.separation.synthetic.song import STEPS, Note, Song, frequency, samples_of
from kaldi_quant.frontends.separation.synthetic.sounds import add, harmonics_within, panned, periodic, swelling
from kaldi_quant.frontends.signals.noise_ranges import Coloured, draw
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz, Seconds

#: The first three formants, in Hz.
VOWELS = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
# Of higher formants, which all vowels share, and the bandwidths of all.
_HIGHER = (3500, 4500)
_BANDWIDTHS = (70, 90, 120, 180, 250)
# Where consonants have their noise: as of s, sh, f and t.
_CONSONANTS = ((3000, 0.09), (1800, 0.09), (1000, 0.06), (2200, 0.03))
# The pitch comes from the last note within this time.
_GLIDE: Seconds = 0.04
# How notes of a phrase are long, in sixteenths.
_RHYTHMS = ((4, 4, 4, 4), (2, 2, 4, 8), (4, 2, 2, 4, 4), (6, 2, 6, 2), (3, 3, 2, 4, 4), (8, 4, 4))
_DEGREES = 7


def voice(song: Song, band: Band, samples: int, rate: Hertz, random: np.random.Generator) -> Array:
    """(2, samples) float32, from the middle."""
    notes = list(_melody(song, draw(random, band.lowest_notes), random))
    tract, breath = draw(random, band.tracts), draw(random, band.breaths)
    cycles = _cycles(notes, samples, rate, draw(random, band.vibratos), draw(random, band.depths), random)
    phases = random.random(64)
    track = np.zeros(samples, np.float32)
    for note in notes:
        begin = round(note.begin * rate)
        count = min(samples_of(note.length, rate), samples - begin)
        if count <= 0:
            continue
        vowels = [list(VOWELS)[place] for place in random.integers(len(VOWELS), size=2)]
        sung = _sung(cycles[begin : begin + count], frequency(note.pitch), vowels, tract, rate, phases)
        noise = random.standard_normal(count, np.float32) * np.abs(sung) * np.float32(10 ** (breath / 20) * 3)
        add(track, begin, (sung + noise) * swelling(count, rate, 0.03, 0.06) * np.float32(note.loudness))
        low, length = _CONSONANTS[int(random.integers(len(_CONSONANTS)))]
        if random.random() < 0.6:
            burst = Coloured(slopes=((-3, -3),), lows=((low, low),), highs=((9000, 9000),))
            size = samples_of(length * random.uniform(0.7, 1.3), rate)
            hiss = burst.make(size, rate, random, ())
            hiss *= np.float32(random.uniform(0.03, 0.12) / max(float(np.abs(hiss).max()), 1e-9)) * 4
            add(track, begin - size // 2, hiss * swelling(size, rate, length / 4, length / 3))
    return panned(track, 0.5 + random.uniform(-0.05, 0.05))


def _melody(song: Song, lowest: float, random: np.random.Generator) -> Iterator[Note]:
    """Steps of the scale, most often to neighbours; on long notes, notes of the chord; some rests."""
    # The degree from which on the singer sings.
    base = 0
    while song.pitch(base) < lowest:
        base += 1
    degree, rhythm = base + 2, _RHYTHMS[int(random.integers(len(_RHYTHMS)))]
    for bar in range(song.bars):
        step = 0
        rhythm = _RHYTHMS[int(random.integers(len(_RHYTHMS)))] if random.random() < 0.5 else rhythm
        for length in rhythm:
            degree += int(random.choice([-2, -1, -1, 0, 1, 1, 2]))
            degree = base + abs(degree - base) if degree < base else min(degree, base + 9)
            if length >= 4:
                chord = np.array(song.chord(bar))
                degree += int(min(((chord - degree + 3) % _DEGREES) - 3, key=abs))
            rests = 0.25 if step + length == STEPS and bar % 2 else 0.08
            if random.random() >= rests:
                duration = length * song.step * random.uniform(0.85, 1.0)
                yield Note(song.time(bar, step), duration, song.pitch(degree), random.uniform(0.6, 1.0))
            step += length


def _cycles(
    notes: list[Note], samples: int, rate: Hertz, vibrato: float, depth: float, random: np.random.Generator
) -> Array:
    """(samples,) float64: the phase of the voice, in periods, through the whole song."""
    pitches = np.full(samples, float(notes[0].pitch) if notes else 60.0)
    for note in notes:
        pitches[round(note.begin * rate) :] = note.pitch
    # A glide: the mean over a short time, which ends at each place.
    width = samples_of(_GLIDE, rate)
    sums = np.cumsum(np.concatenate([np.full(width, pitches[0]), pitches]))
    pitches = (sums[width:] - sums[:-width]) / width
    time = np.arange(samples) / rate
    swing = np.sin(2 * np.pi * (vibrato * time + 0.15 * np.sin(2 * np.pi * 0.7 * time) + random.random()))
    pitches += swing * depth / 100
    return np.cumsum(440.0 * 2 ** ((pitches - 69) / 12)) / rate


def _sung(cycles: Array, pitch: float, vowels: list[str], tract: float, rate: Hertz, phases: Array) -> Array:
    """A note (n,) float32 of a root mean square of about 0.1, which goes from one vowel to another."""
    numbers = harmonics_within(1.06 * pitch, rate)
    waves = []
    for vowel in vowels:
        formants = tract * np.array([*VOWELS[vowel], *_HIGHER])
        ratios = (numbers * pitch)[:, None] / formants
        widths = np.array(_BANDWIDTHS) / formants
        amplitudes = numbers**-1.0 * np.prod(((1 - ratios**2) ** 2 + (widths * ratios) ** 2) ** -0.5, axis=1)
        amplitudes *= 0.14 / np.sqrt(np.square(amplitudes).sum())
        waves.append(periodic(cycles, amplitudes, phases[: len(numbers)]))
    share = np.clip(np.linspace(-0.5, 1.5, len(cycles), dtype=np.float32), 0, 1)
    return waves[0] * (1 - share) + waves[1] * share
