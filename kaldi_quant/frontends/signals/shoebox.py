"""Rooms by image source: a shoebox whose walls reflect alike.

Source: J. B. Allen and D. A. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979:
every reflection is the direct sound of an image of the source behind the walls, weaker by the reflection coefficient
with each wall and by distance; a high-pass takes off what images, all of one sign, add up to near 0 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Hertz, Seconds

#: Metres.
Metres = float
#: Width, depth and height, or a place.
Triple = tuple[Metres, Metres, Metres]

_SPEED_OF_SOUND = 343.0
# Allen and Berkley have 100 Hz; half of it is below all voices.
_HIGH_PASS: Hertz = 50


@dataclass(frozen=True)
class Shoebox:
    """A room, who speaks in it, and where it is heard.

    Args:
        size: of the room.
        source: the place of who speaks.
        receiver: the place of the microphone.
        rt60: the time in which sound falls by 60 dB. The walls follow from it.

    Raises:
        UsageError: a place is not within the room, both are the same, or there is no such time.
    """

    size: Triple
    source: Triple
    receiver: Triple
    rt60: Seconds

    def __post_init__(self) -> None:
        for what, place in (("source", self.source), ("receiver", self.receiver)):
            if not all(0 < at < length for at, length in zip(place, self.size, strict=True)):
                raise UsageError(f"the {what} {place} is not within a room of {self.size} metres")
        if self.source == self.receiver:
            raise UsageError(f"source and receiver are both at {self.source}")
        if not self.rt60 > 0:
            raise UsageError(f"the reverberation time must be above 0 s, found {self.rt60:g}")

    @property
    def reflection(self) -> float:
        """The reflection coefficient of all walls, of amplitudes.

        Source: C. F. Eyring, "Reverberation time in dead rooms", JASA 1, 1930, solved for what walls leave of energy:
        exp(-24 ln 10 · V / (c · S · RT60)).
        """
        x, y, z = self.size
        exponent = 24 * np.log(10) * x * y * z / (_SPEED_OF_SOUND * 2 * (x * y + y * z + x * z) * self.rt60)
        return float(np.exp(-exponent / 2))

    @property
    def delay(self) -> Seconds:
        """After which the direct sound arrives."""
        return float(np.linalg.norm(np.subtract(self.source, self.receiver))) / _SPEED_OF_SOUND

    def response(self, rate: Hertz) -> Array:
        """The answer to an impulse, as long as the reverberation time, from the direct sound on.

        Returns:
            (n,) float32. The direct sound is at sample 0 and was 1 before the high-pass, however far the source is.
        """
        samples = max(1, round(self.rt60 * rate))
        reach = self.delay + samples / rate
        along = [
            _images(*axis, reach * _SPEED_OF_SOUND) for axis in zip(self.size, self.source, self.receiver, strict=True)
        ]
        (x, bounces_x), (y, bounces_y), (z, bounces_z) = along
        distance = np.sqrt((x**2)[:, None, None] + (y**2)[:, None] + z**2)
        bounces = bounces_x[:, None, None] + bounces_y[:, None] + bounces_z
        place = np.rint((distance / _SPEED_OF_SOUND - self.delay) * rate).astype(np.int64)
        heard = place < samples
        gain = self.reflection ** bounces[heard] * (self.delay * _SPEED_OF_SOUND / distance[heard])
        return _high_passed(np.bincount(place[heard], gain, samples), rate).astype(np.float32)


def _images(length: Metres, source: Metres, receiver: Metres, reach: Metres) -> tuple[Array, Array]:
    """Along one axis: distances (n,) of images from the receiver, and how often their sound met a wall."""
    count = int(np.ceil(reach / (2 * length))) + 1
    numbers = np.arange(-count, count + 1)
    distance = np.concatenate([2 * numbers * length + side * source - receiver for side in (1, -1)])
    bounces = np.concatenate([2 * np.abs(numbers), np.abs(numbers - 1) + np.abs(numbers)])
    near = np.abs(distance) <= reach
    return distance[near], bounces[near]


def _high_passed(response: Array, rate: Hertz) -> Array:
    """Allen and Berkley's filter of second order (their appendix)."""
    angle = 2 * np.pi * _HIGH_PASS / rate
    pole = np.exp(-angle)
    return lfilter([1, -(1 + pole), pole], [1, -2 * pole * np.cos(angle), pole**2], response)
