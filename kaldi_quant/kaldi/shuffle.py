"""The order of training examples, as ``nnet3-chain-shuffle-egs`` makes it.

Source: ``src/chainbin/nnet3-chain-shuffle-egs.cc``; ``RandInt`` in ``src/base/kaldi-math.cc``; ``random_r.c`` of glibc,
whose generator decides, so that a seed gives the same order here and in Kaldi on Linux.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

# glibc's additive feedback generator of type 3: x[i] = x[i - 31] + x[i - 3].
_DEGREE, _SEPARATION = 31, 3
_DISCARDED = 310
_MODULUS = 2**31 - 1


class CRandom:
    """The numbers that ``rand()`` of the GNU C library gives after ``srand(seed)``."""

    def __init__(self, seed: int) -> None:
        value = seed % 2**32 or 1
        value -= 2**32 if value >= 2**31 else 0
        state = [value]
        for _ in range(_DEGREE - 1):
            # C's division truncates towards zero.
            quotient = int(value / 127773)
            value = 16807 * (value - quotient * 127773) - 2836 * quotient
            value += _MODULUS if value < 0 else 0
            state.append(value)
        self._state = [number % 2**32 for number in state]
        self._position = _SEPARATION
        for _ in range(_DISCARDED):
            self.next()

    def next(self) -> int:
        """The next number, between 0 and 2**31 - 1."""
        position = self._position
        self._position = (position + 1) % _DEGREE
        value = (self._state[position] + self._state[position - _SEPARATION]) % 2**32
        self._state[position] = value
        return value >> 1

    def integer(self, first: int, last: int) -> int:
        """A number from ``first`` to ``last``, as Kaldi's ``RandInt``, which draws nothing where they are equal."""
        return first if first == last else first + self.next() % (last + 1 - first)


def shuffle(items: Iterable[Item], buffer_size: int, seed: int) -> Iterator[Item]:
    """Yields items in another order.

    Args:
        items: such as examples.
        buffer_size: how many are held at a time: each new one takes a random place and sends on what was there. 0 holds
            all and gives every order the same chance; Kaldi's order is then another one each time.
        seed: decides the order.
    """
    if buffer_size == 0:
        everything = list(items)
        for index in np.random.default_rng(seed).permutation(len(everything)):
            yield everything[index]
        return
    random = CRandom(seed)
    places: list[list[Item]] = [[] for _ in range(buffer_size)]
    for item in items:
        place = places[random.integer(0, buffer_size - 1)]
        if place:
            yield place.pop()
        place.append(item)
    for place in places:
        yield from place
