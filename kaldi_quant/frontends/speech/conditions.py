"""Noises and rooms that training hears, and others that it does not, for the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kaldi_quant.frontends.signals.noise_ranges import Babble, Clicks, Coloured, Hum, Machine, Noise, Ranges, draw
from kaldi_quant.frontends.signals.shoebox import Shoebox
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz, Seconds

#: The early reflections, which make speech clearer, end so long behind the direct sound (ISO 3382-1, on clarity).
EARLY: Seconds = 0.05
# Of voice and microphone from the walls, in metres.
_FROM_WALLS = 0.5
# More responses than these are computed again.
_KEPT = 512


@dataclass(frozen=True)
class Rooms:
    """A set of rooms, all of which follow from its name.

    Args:
        name: of the set.
        count: rooms.
        widths: the shorter and the longer side of the floor, each drawn from these, in metres.
        heights: in metres.
        rt60: the reverberation time, in s.
        distances: of voice and microphone at most, in metres.
    """

    name: str
    count: int
    widths: Ranges
    heights: Ranges
    rt60: Ranges
    distance: float

    def responses(self, number: int, rate: Hertz) -> tuple[Array, Array]:
        """A room's answer to an impulse, and the part of it that is the target: direct sound and early reflections.

        Args:
            number: of the room; it is computed once in a process.
            rate: in Hz.

        Returns:
            (n,) and (m,) float32.
        """
        return _responses(self, number, rate)

    def room(self, number: int) -> Shoebox:
        """A room."""
        random = seeded(number, "room", self.name)
        size = draw(random, self.widths), draw(random, self.widths), draw(random, self.heights)
        rt60 = draw(random, self.rt60)
        places = [
            [random.uniform(_FROM_WALLS, length - _FROM_WALLS) for length in size] for _ in ("source", "receiver")
        ]
        source, receiver = np.array(places)
        # Who is too far away comes nearer on the straight line.
        apart = float(np.linalg.norm(source - receiver))
        source = receiver + (source - receiver) * min(1.0, self.distance / apart)
        return Shoebox(size, tuple(source.tolist()), tuple(receiver.tolist()), rt60)


@lru_cache(_KEPT)
def _responses(rooms: Rooms, number: int, rate: Hertz) -> tuple[Array, Array]:
    whole = rooms.room(number).response(rate)
    return whole, whole[: round(EARLY * rate)]


@dataclass(frozen=True)
class Conditions:
    """What speech is mixed with.

    Args:
        noises: by kind.
        rooms: that it is heard in.
    """

    noises: Mapping[str, Noise]
    rooms: Rooms


CONDITIONS: Registry[Conditions] = Registry("set of conditions")
#: What training and development hear.
HEARD = "heard"
#: The same kinds in ranges that do not meet those of ``HEARD``: other colours, numbers of talkers, mains, blows, speeds
#: and rooms.
UNHEARD = "unheard"
#
# Most noises of the world lie low: traffic, engines and ventilation fall by 6 to 12 dB in each octave.
CONDITIONS.add(HEARD)(
    Conditions(
        {
            "coloured": Coloured(slopes=((-10, -5),), lows=((20, 200),), highs=((2000, 8000),)),
            "babble": Babble(talkers=((4, 8),)),
            "hum": Hum(
                mains=((49.5, 50.5), (59.5, 60.5)), highest=((500, 1500),), falls=((0.8, 1.4),), floors=((-35, -20),)
            ),
            "clicks": Clicks(per_second=((2, 8),), decays=((0.002, 0.01),), tones=((300, 2000),)),
            "machine": Machine(
                speeds=((25, 120),),
                swells=((2, 10),),
                depths=((0.2, 0.6),),
                floors=((-10, 0),),
                noise=Coloured(slopes=((-10, -5),), lows=((20, 200),), highs=((2000, 8000),)),
            ),
        },
        Rooms(HEARD, 128, widths=((3, 6),), heights=((2.4, 3.0),), rt60=((0.15, 0.35),), distance=1.5),
    )
)
CONDITIONS.add(UNHEARD)(
    Conditions(
        {
            "coloured": Coloured(slopes=((-12, -10.5), (-4.5, -3.5)), lows=((20, 200),), highs=((2000, 8000),)),
            "babble": Babble(talkers=((9, 12),)),
            "hum": Hum(
                mains=((16.5, 16.9), (99, 101)), highest=((500, 1500),), falls=((0.8, 1.4),), floors=((-35, -20),)
            ),
            "clicks": Clicks(per_second=((9, 12),), decays=((0.011, 0.015),), tones=((300, 2000),)),
            "machine": Machine(
                speeds=((130, 160),),
                swells=((11, 14),),
                depths=((0.2, 0.6),),
                floors=((-10, 0),),
                noise=Coloured(slopes=((-12, -10.5), (-4.5, -3.5)), lows=((20, 200),), highs=((2000, 8000),)),
            ),
        },
        Rooms(UNHEARD, 64, widths=((6.5, 8),), heights=((3.1, 3.4),), rt60=((0.2, 0.35),), distance=1.5),
    )
)
