"""The bass, and what plays chords: pads, organs and plucked strings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from kaldi_quant.frontends.separation.synthetic.bands import Band
from kaldi_quant.frontends.separation.synthetic.song import STEPS, Note, Song, frequency, samples_of
from kaldi_quant.frontends.separation.synthetic.sounds import (
    add,
    drawn_once,
    harmonics_within,
    panned,
    periodic,
    swelling,
)
from kaldi_quant.frontends.signals.noise_ranges import draw
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz

# Where notes of the bass begin, in sixteenths.
_BASS_STEPS = ((0, 4, 8, 12), (0, 2, 4, 6, 8, 10, 12, 14), (0, 6, 8, 14), (0, 3, 6, 8, 11, 14), (0, 8, 10))
# By which degrees a note of the bass differs from the root of the chord.
_BASS_DEGREES = (0, 0, 0, 4, 7)
_ARPEGGIOS = ((0, 1, 2, 1), (0, 1, 2, 3), (2, 1, 0, 1), (0, 2, 1, 2))
# Harmonics of an organ that are drawn, and how strong others are.
_DRAWBARS = (1, 2, 3, 4, 6, 8)
# Above the bass by so many octaves.
_CHORD_OCTAVE, _ARPEGGIO_OCTAVE = 1, 2
_DEGREES = 7


def bass(song: Song, band: Band, samples: int, rate: Hertz, random: np.random.Generator) -> Array:
    """(2, samples) float32, from the middle."""
    fall, decay = draw(random, band.bass_falls), draw(random, band.bass_decays)
    phases, hollow = random.random(64), random.uniform(0.3, 1.0)
    track = np.zeros(samples, np.float32)
    for note in _bass_line(song, random):
        count = samples_of(note.length, rate)
        pitch = frequency(note.pitch)
        numbers = harmonics_within(pitch, rate, 40)
        amplitudes = numbers**-fall * np.where(numbers % 2 == 0, hollow, 1.0)
        wave = periodic(pitch / rate * np.arange(count), amplitudes, phases[: len(numbers)])
        add(
            track,
            round(note.begin * rate),
            wave * swelling(count, rate, 0.006, 0.02, decay) * np.float32(note.loudness),
        )
    return panned(track, 0.5)


def _bass_line(song: Song, random: np.random.Generator) -> Iterator[Note]:
    steps = (*_BASS_STEPS[int(random.integers(len(_BASS_STEPS)))], STEPS)
    share = random.uniform(0.6, 1.0)
    for bar in range(song.bars):
        for place, (begin, end) in enumerate(pairwise(steps)):
            degree = song.chords[bar] + (0 if place == 0 else int(random.choice(_BASS_DEGREES)))
            length = (end - begin) * song.step * share
            yield Note(song.time(bar, begin), length, song.pitch(degree), random.uniform(0.7, 1.0))


def accompaniment(song: Song, band: Band, samples: int, rate: Hertz, random: np.random.Generator) -> Array:
    """(2, samples) float32: chords, and most often notes of them one behind the other."""
    track = np.zeros((2, samples), np.float32)
    chords = ("pad", "organ", "keys")[int(random.integers(3))]
    notes = list(_keys(song, random) if chords == "keys" else _held(song))
    _play(track, notes, chords, band, rate, random)
    if random.random() < 0.75:
        plucked = np.zeros_like(track)
        _play(plucked, list(_arpeggio(song, random)), "pluck", band, rate, random)
        track += plucked * np.float32(random.uniform(0.4, 1.2))
    return track


def _held(song: Song) -> Iterator[Note]:
    for bar in range(song.bars):
        for degree in song.chord(bar):
            pitch = song.pitch(degree + _CHORD_OCTAVE * _DEGREES)
            yield Note(song.time(bar, 0), STEPS * song.step, pitch, 0.8)


def _keys(song: Song, random: np.random.Generator) -> Iterator[Note]:
    steps = ((0, 6, 12), (0, 4, 8, 12), (2, 6, 10, 14), (0, 3, 8, 11))[int(random.integers(4))]
    for bar in range(song.bars):
        for step in steps:
            for degree in song.chord(bar):
                pitch = song.pitch(degree + _CHORD_OCTAVE * _DEGREES)
                yield Note(song.time(bar, step), 4 * song.step, pitch, random.uniform(0.6, 1.0))


def _arpeggio(song: Song, random: np.random.Generator) -> Iterator[Note]:
    order = _ARPEGGIOS[int(random.integers(len(_ARPEGGIOS)))]
    every = int(random.choice([2, 2, 4]))
    for bar in range(song.bars):
        chord = song.chord(bar)
        for place in range(STEPS // every):
            degree = chord[order[place % len(order)] % len(chord)] + _ARPEGGIO_OCTAVE * _DEGREES
            length = 2 * every * song.step
            yield Note(song.time(bar, place * every), length, song.pitch(degree), random.uniform(0.5, 1.0))


def _play(track: Array, notes: list[Note], sound: str, band: Band, rate: Hertz, random: np.random.Generator) -> None:
    """Adds notes; those of one pitch are all alike."""
    ranges = band.pluck_falls if sound in ("pluck", "keys") else band.pad_falls
    fall, cents = draw(random, ranges), draw(random, band.detunings)
    decay = draw(random, band.pluck_decays) if sound in ("pluck", "keys") else np.inf
    attack = random.uniform(0.05, 0.2) if sound == "pad" else 0.004
    width = random.uniform(0.0, 0.3) if sound == "pluck" else random.uniform(0.2, 0.5)
    middle = random.uniform(0.3, 0.7)
    drawbars = random.uniform(0.1, 1.0, len(_DRAWBARS))
    phases = random.random((2, 64))
    longest = samples_of(max(note.length for note in notes), rate)

    def made(pitch: int) -> Array:
        waves = []
        for side, place in enumerate((middle - width, middle + width)):
            tuned = frequency(pitch + (side - 0.5) * cents / 100)
            numbers = harmonics_within(tuned, rate, 32)
            amplitudes = numbers**-fall
            if sound == "organ":
                strength = dict(zip(_DRAWBARS, drawbars, strict=True))
                amplitudes = np.array([strength.get(int(number), 0.0) for number in numbers])
            wave = periodic(tuned / rate * np.arange(longest), amplitudes, phases[side, : len(numbers)])
            waves.append(panned(wave, place))
        return np.asarray(waves[0] + waves[1])

    tone = drawn_once(made)
    shape: dict[int, Array] = {}
    for note in notes:
        count = samples_of(note.length, rate)
        if count not in shape:
            shape[count] = swelling(count, rate, attack, 0.05 if sound != "pad" else 0.1, decay)
        add(track, round(note.begin * rate), tone(note.pitch)[:, :count] * shape[count] * np.float32(note.loudness))
