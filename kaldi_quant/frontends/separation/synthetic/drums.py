"""Drums: a kick and a snare, whose tones die away, with noise, and cymbals of noise."""

from __future__ import annotations

import numpy as np

from kaldi_quant.frontends.separation.synthetic.bands import Band
from kaldi_quant.frontends.separation.synthetic.song import STEPS, Song, samples_of
from kaldi_quant.frontends.separation.synthetic.sounds import add, panned
from kaldi_quant.frontends.signals.noise_ranges import Coloured, draw
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz, Seconds

# How exactly a drummer plays.
_JITTER: Seconds = 0.004
# Behind so many times its decay, a blow is 60 dB below its beginning.
_DECAYS = 7
_OPEN = 5.0


def drums(song: Song, band: Band, samples: int, rate: Hertz, random: np.random.Generator) -> Array:
    """(2, samples) float32."""
    kick, snare = _kick(band, rate, random), _snare(band, rate, random)
    low, decay = draw(random, band.hat_lows), draw(random, band.hat_decays)
    hats = [_hat(low, decay * length, rate, random) for length in (1, _OPEN)]
    places = 0.5, random.uniform(0.35, 0.65), random.uniform(0.2, 0.8)
    levels = 1.0, random.uniform(0.6, 1.0), random.uniform(0.15, 0.35)
    struck = zip((kick, snare, *hats), (*levels, levels[2]), (*places, places[2]), strict=True)
    *sounds, opened = [panned(sound * level, place) for sound, level, place in struck]
    patterns = _patterns(random)
    track = np.zeros((2, samples), np.float32)
    for bar in range(song.bars):
        for sound, pattern in zip(sounds, patterns, strict=True):
            for step in np.flatnonzero(pattern > random.random(STEPS)):
                loudness = random.uniform(0.6, 1.0)
                is_open = sound is sounds[2] and step % 4 == 2 and random.random() < 0.2
                begin = song.time(bar, float(step)) + random.uniform(0, _JITTER)
                add(track, round(begin * rate), (opened if is_open else sound) * np.float32(loudness))
    return track


def _patterns(random: np.random.Generator) -> tuple[Array, Array, Array]:
    """How likely kick, snare and cymbal are struck on each sixteenth, (STEPS,) each."""
    kick, snare = np.zeros(STEPS), np.zeros(STEPS)
    kick[[0, 8]] = 1
    kick[random.choice([3, 6, 7, 10, 11, 14], 2, replace=False)] = random.uniform(0.4, 1.0, 2)
    if random.random() < 0.3:
        kick[[4, 12]] = 1
    snare[[4, 12]] = 1
    snare[random.choice([7, 9, 15])] = random.uniform(0, 0.5)
    cymbal = np.where(np.arange(STEPS) % int(random.choice([1, 2, 2, 4])) == 0, 0.95, 0.05)
    return kick, snare, cymbal


def _kick(band: Band, rate: Hertz, random: np.random.Generator) -> Array:
    end, start, decay = (draw(random, ranges) for ranges in (band.kick_ends, band.kick_starts, band.kick_decays))
    time = np.arange(samples_of(_DECAYS * decay, rate)) / rate
    fall = decay / 6
    periods = end * (time + (start - 1) * fall * (1 - np.exp(-time / fall)))
    click = random.standard_normal(len(time)) * np.exp(-time / 0.003) * random.uniform(0.1, 0.4)
    return (np.exp(-time / decay) * np.sin(2 * np.pi * periods) + click).astype(np.float32)


def _snare(band: Band, rate: Hertz, random: np.random.Generator) -> Array:
    tone, decay = draw(random, band.snare_tones), draw(random, band.snare_decays)
    time = np.arange(samples_of(_DECAYS * decay, rate)) / rate
    body = sum(np.sin(2 * np.pi * tone * ratio * time) / ratio for ratio in (1.0, 1.59))
    noise = _noise(800, len(time), rate, random)
    return (0.6 * np.exp(-time / (0.6 * decay)) * body + 0.5 * np.exp(-time / decay) * noise).astype(np.float32)


def _hat(low: float, decay: Seconds, rate: Hertz, random: np.random.Generator) -> Array:
    time = np.arange(samples_of(_DECAYS * decay, rate)) / rate
    return (np.exp(-time / decay) * _noise(low, len(time), rate, random)).astype(np.float32)


def _noise(low: float, samples: int, rate: Hertz, random: np.random.Generator) -> Array:
    """Noise from a frequency on, of a root mean square of about 1."""
    noise = Coloured(slopes=((0, 0),), lows=((low, low),), highs=((12000, 12000),)).make(samples, rate, random, ())
    return noise / max(float(np.sqrt(np.mean(np.square(noise)))), 1e-9)
