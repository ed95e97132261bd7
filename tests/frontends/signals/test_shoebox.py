"""Rooms by image source: where and how strong reflections are, how fast they die away."""

import numpy as np
import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.signals.shoebox import Shoebox

RATE = 16000
ROOM = Shoebox((4.0, 5.0, 3.0), (1.0, 2.0, 1.5), (2.5, 2.0, 1.5), 0.3)


def test_the_first_reflections_are_those_of_single_walls() -> None:
    """Floor and ceiling mirror the source 3 m away, the nearest wall at the side 2 m behind."""
    response = ROOM.response(RATE).astype(np.float64)
    direct = 1.5
    walls = {"floor and ceiling": (np.hypot(1.5, 3.0), 2), "x = 0": (3.5, 1), "y = 0": (np.hypot(1.5, 4.0), 1)}
    for distance, count in walls.values():
        place = round((distance - direct) / 343 * RATE)
        # The high-pass leaves but small slopes around a single pulse.
        height = response[place] - (response[place - 1] + response[place + 1]) / 2
        assert height == pytest.approx(count * ROOM.reflection * direct / distance, abs=0.02)
    assert response[0] == pytest.approx(1, abs=1e-6)
    assert abs(response.sum()) < 0.01 * abs(response).sum()


def test_it_dies_away_in_the_time_that_was_asked_for() -> None:
    for rt60 in (0.2, 0.4):
        response = Shoebox((4.0, 5.0, 3.0), (1.0, 2.0, 1.5), (2.9, 3.3, 1.2), rt60).response(RATE).astype(np.float64)
        left = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))
        begin, end = (int(np.argmax(left < level)) for level in (-5, -25))
        assert len(response) == round(rt60 * RATE) and 3 * (end - begin) / RATE == pytest.approx(rt60, rel=0.2)


@pytest.mark.parametrize(
    ("size", "source", "rt60", "message"),
    [
        ((4.0, 5.0, 3.0), (4.5, 2.0, 1.0), 0.3, "the source .* is not within a room"),
        ((4.0, 5.0, 3.0), (2.5, 2.0, 1.5), 0.3, "source and receiver are both at"),
        ((4.0, 5.0, 3.0), (1.0, 2.0, 1.5), 0.0, "must be above 0 s, found 0"),
    ],
)
def test_rooms_that_cannot_be(size: tuple, source: tuple, rt60: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Shoebox(size, source, (2.5, 2.0, 1.5), rt60)
