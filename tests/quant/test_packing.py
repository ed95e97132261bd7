"""Integers of any width without a gap between them."""

import time

import numpy as np
import pytest

from kaldi_quant.quant.packing import pack, packed_bytes, unpack


@pytest.mark.parametrize("bits", range(1, 17))
def test_every_width_comes_back_and_takes_no_more_than_its_bits(bits: int) -> None:
    rng = np.random.default_rng(bits)
    for count in (0, 1, 7, 8, 9, 1000, 1003):
        integers = rng.integers(0, 1 << bits, count)
        integers[:2] = [0, (1 << bits) - 1][: len(integers[:2])]
        packed = pack(integers, bits)
        assert packed.dtype == np.uint8 and len(packed) == packed_bytes(count, bits) == -(-count * bits // 8)
        assert np.array_equal(unpack(packed, bits, count), integers)


@pytest.mark.parametrize("bits", [2, 3, 5, 8, 11, 16])
def test_the_stream_begins_with_the_lowest_bit(bits: int) -> None:
    integers = np.random.default_rng(0).integers(0, 1 << bits, (5, 7))
    stream = "".join(f"{value:0{bits}b}"[::-1] for value in integers.ravel())
    stream += "0" * (-len(stream) % 8)
    expected = [int(stream[i : i + 8][::-1], 2) for i in range(0, len(stream), 8)]
    assert pack(integers, bits).tolist() == expected


def test_eight_and_sixteen_bits_are_bytes() -> None:
    integers = np.array([0, 1, 127, 200, 255])
    assert pack(integers, 8).tolist() == integers.tolist()
    assert pack(integers * 257, 16).tobytes() == (integers * 257).astype("<u2").tobytes()


def test_ten_million_weights_take_no_time() -> None:
    integers = np.random.default_rng(0).integers(0, 16, 10_000_000, np.int32)
    begin = time.process_time()
    assert np.array_equal(unpack(pack(integers, 4), 4, len(integers)), integers)
    # 0.3 s on an idle core; the slow ways, a loop or an array of bits, take ten times as long.
    assert time.process_time() - begin < 3
