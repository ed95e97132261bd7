"""Long recordings in pieces: they are put together again, in one order, whatever networks do with pieces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.chunks import Chunks, fade_in, pieces, separate_in_chunks
from kaldi_quant.metrics.speech import si_sdr


def sources(samples: int = 5000, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 1, samples)).astype(np.float32)


class Permuting:
    """Knows the sources, of which the mixture's first samples tell where a piece begins; gives them in any order."""

    def __init__(self, known: np.ndarray, seed: int = 0, gain: float = 0.0, noise: float = 0.0) -> None:
        self.known, self.random, self.orders = known, np.random.default_rng(seed), []
        self.gain, self.noise, self.longest = gain, noise, 0

    def __call__(self, piece: np.ndarray) -> np.ndarray:
        mixture = self.known.sum(0)
        begin = next(k for k in range(mixture.shape[1]) if np.array_equal(mixture[:, k : k + 5], piece[:, :5]))
        order = self.random.permutation(len(self.known))
        self.orders.append(tuple(order))
        self.longest = max(self.longest, piece.shape[1])
        found = self.known[order, :, begin : begin + piece.shape[1]]
        found = found * 10 ** (self.gain * self.random.uniform(-1, 1, (len(found), 1, 1)))
        return (found + self.noise * self.random.standard_normal(found.shape)).astype(np.float32)


@pytest.mark.parametrize("fade", ["triangular", "hann"])
@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5])
def test_weights_sum_to_one(overlap: float, fade: str) -> None:
    rising = fade_in(40, fade)
    np.testing.assert_allclose(rising + rising[::-1], 1, rtol=0, atol=1e-6)
    assert (np.diff(rising) > 0).all() and rising[0] < 0.02
    mixture = sources().sum(0)
    found = separate_in_chunks(mixture, lambda x: np.stack([x, 2 * x]), 700, Chunks(1, overlap, fade), True)
    np.testing.assert_allclose(found, np.stack([mixture, 2 * mixture]), rtol=0, atol=1e-6)


def test_pieces_are_of_one_length_and_the_whole() -> None:
    for length, samples, overlap in ((5000, 700, 0.25), (701, 700, 0.5), (1400, 700, 0.1), (10, 2, 0.5)):
        found = list(pieces(length, samples, overlap))
        assert found[0][0] == 0 and found[-1][1] == length and {end - begin for begin, end in found} == {samples}
        common = [end - begin for (_, end), (begin, _) in pairwise(found)]
        assert min(common) >= max(1, round(samples * overlap)), found
    assert list(pieces(500, 700, 0.25)) == [(0, 500)]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_orders_are_repaired(count: int) -> None:
    known = sources(count=count)
    network = Permuting(known, noise=0.5)
    found = separate_in_chunks(known.sum(0), network, 700, Chunks(1), False)
    assert len(set(network.orders)) > 1 and network.longest == 700
    first = list(network.orders[0])
    for signal, source in zip(found, known[first], strict=True):
        assert si_sdr(source[0], signal[0]) > 5
    # As it would be without: an ordered network's outputs stay where they are.
    left = separate_in_chunks(known.sum(0), Permuting(known, noise=0.5), 700, Chunks(1), True)
    assert min(si_sdr(source[0], signal[0]) for signal, source in zip(left, known[first], strict=True)) < 0


def test_signs_and_levels_stay() -> None:
    mixture = sources().sum(0)
    signs = iter([1, -1] * 20)
    found = separate_in_chunks(mixture, lambda x: np.stack([x, -x]) * next(signs), 1000, Chunks(1), False)
    # Upside down is another signal, so that orders were changed, and signs were not.
    np.testing.assert_allclose(found, np.stack([mixture, -mixture]), rtol=0, atol=1e-6)
    known = sources()
    network = Permuting(known, gain=0.4)
    found = separate_in_chunks(known.sum(0), network, 700, Chunks(1, match_levels=True), False)
    for signal, source in zip(found, known[list(network.orders[0])], strict=True):
        assert si_sdr(source[0], signal[0]) > 60
    network = Permuting(known, gain=0.4)
    found = separate_in_chunks(known.sum(0), network, 700, Chunks(1), False)
    assert max(si_sdr(s[0], x[0]) for x, s in zip(found, known[list(network.orders[0])], strict=True)) < 20


def test_silence_between_keeps_the_order() -> None:
    known = sources()
    known[:, :, 1000:3000] = 0
    found = separate_in_chunks(known.sum(0), lambda x: np.stack([x, 0 * x]), 500, Chunks(1, match_levels=True), False)
    np.testing.assert_allclose(found, np.stack([known.sum(0), 0 * known.sum(0)]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seconds": 0}, "pieces of more than 0 seconds, found 0"),
        ({"seconds": float("nan")}, "found nan"),
        ({"seconds": 1, "overlap": 0.6}, "an overlap above 0 and up to 0.5 of a piece, found 0.6"),
        ({"seconds": 1, "overlap": 0}, "found 0"),
        ({"seconds": 1, "fade": "box"}, "a fade of triangular or hann, found 'box'"),
    ],
)
def test_chunks_that_are_none(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Chunks(**values)
