"""A band that plays a song: drums, bass, other instruments and a voice, in stereo."""

from __future__ import annotations

import numpy as np

from kaldi_quant.frontends.separation.synthetic.bands import BANDS, Band
from kaldi_quant.frontends.separation.synthetic.drums import drums
from kaldi_quant.frontends.separation.synthetic.song import drawn_song
from kaldi_quant.frontends.separation.synthetic.strings import accompaniment, bass
from kaldi_quant.frontends.separation.synthetic.voice import voice
from kaldi_quant.frontends.signals.level import rms
from kaldi_quant.frontends.signals.noise_ranges import draw
from kaldi_quant.frontends.signals.rooms import impulse_response, reverberate
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.units import Hertz, Seconds

#: What plays, in the order of ``networks.known.STEMS``.
_PLAYERS = {"drums": drums, "bass": bass, "other": accompaniment, "vocals": voice}
# Root mean squares, in dB below full scale, and by how much they differ from song to song.
_LEVELS = {"drums": -21.0, "bass": -21.0, "other": -22.0, "vocals": -20.0}
_SPREAD = 3.0
# How much louder the direct sound is than the hall, in dB; of the bass nothing is heard of the hall.
_DIRECT = {"drums": (12.0, 20.0), "other": (6.0, 15.0), "vocals": (6.0, 14.0)}
#: No sample of a song goes beyond it.
PEAK = 0.95


def played(band: str, number: int, seconds: Seconds, rate: Hertz) -> Array:
    """A song.

    Args:
        band: a name of ``BANDS``.
        number: of the song: all that is played follows from it.
        seconds: of the song.
        rate: of its waves, in Hz.

    Returns:
        (4, 2, samples) float32: drums, bass, other instruments and voice, whose sum is what is heard.

    Raises:
        UsageError: there is no such band.
    """
    ranges, samples = BANDS[band], round(seconds * rate)
    song = drawn_song(ranges, seconds, seeded(number, band, "song"))
    stems = []
    for name, play in _PLAYERS.items():
        random = seeded(number, band, name)
        stem = play(song, ranges, samples, rate, random)
        stem = _in_hall(stem, name, ranges, rate, random)
        level = 10 ** ((_LEVELS[name] + random.uniform(-_SPREAD, _SPREAD)) / 20)
        stems.append(stem * np.float32(level / max(rms(stem.ravel()), 1e-9)))
    whole = np.stack(stems)
    highest = float(np.abs(whole.sum(axis=0)).max())
    return whole * np.float32(min(1.0, PEAK / highest))


def _in_hall(stem: Array, name: str, band: Band, rate: Hertz, random: np.random.Generator) -> Array:
    if name not in _DIRECT:
        return stem
    rt60, direct = draw(random, band.rt60), random.uniform(*_DIRECT[name])
    return np.stack([reverberate(side, impulse_response(rt60, direct, rate, random)) for side in stem])
