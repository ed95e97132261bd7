"""How utterances are cut."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaldi_quant.errors import UsageError
from kaldi_quant.nnet3.chunks import Chunk, ChunkOptions, cut
from kaldi_quant.nnet3.context import Context

CONTEXT = Context(left=4, right=2, modulus=1)


def test_a_whole_utterance_is_one_chunk() -> None:
    (chunk,) = cut(10, CONTEXT, ChunkOptions(3))
    assert chunk == Chunk(first_output=0, num_outputs=4, span=(-4, 9 + 2 + 1), subsampling=3)
    assert chunk.output_times.tolist() == [0, 3, 6, 9]
    # The first and the last frame are repeated beyond the utterance's edges.
    assert chunk.frames(10).tolist() == [0, 0, 0, 0, *range(10), 9, 9]


def test_the_input_ends_at_the_last_output_frame() -> None:
    (chunk,) = cut(140, Context(0, 0, 1), ChunkOptions(3))
    assert chunk.span == (0, 139)


def test_chunks_with_extra_context() -> None:
    chunks = cut(20, CONTEXT, ChunkOptions(3, 9, 5, 1, 0, 0))
    assert [(chunk.first_output, chunk.num_outputs) for chunk in chunks] == [(0, 3), (3, 3), (6, 1)]
    assert [chunk.span for chunk in chunks] == [(-4, 6 + 3 + 1), (-9, 6 + 3 + 1), (-9, 0 + 2 + 1)]
    assert [chunk.first_frame for chunk in chunks] == [0, 9, 18]
    # Times are counted from the chunk's own first output.
    assert chunks[1].output_times.tolist() == [0, 3, 6]


def test_extra_context_holds_at_the_edges_where_nothing_else_is_said() -> None:
    first, last = cut(10, CONTEXT, ChunkOptions(1, 5, 3, 2))
    assert first.span == (-7, 4 + 4 + 1) and last.span == (-7, 4 + 4 + 1)


@pytest.mark.parametrize(
    ("asked", "factor", "modulus", "rows"), [(51, 3, 9, 18), (50, 3, 1, 17), (20, 3, 4, 8), (51, 1, 4, 52)]
)
def test_chunk_lengths_are_rounded_up(asked: int, factor: int, modulus: int, rows: int) -> None:
    chunks = cut(1000, Context(1, 1, modulus), ChunkOptions(factor, asked))
    assert {chunk.num_outputs for chunk in chunks[:-1]} == {rows}
    assert rows * factor % math.lcm(factor, modulus) == 0


@settings(max_examples=200, deadline=None)
@given(
    frames=st.integers(1, 500),
    factor=st.integers(1, 4),
    per_chunk=st.integers(0, 120),
    modulus=st.integers(1, 6),
    extra=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(-1, 30), st.integers(-1, 30)),
)
def test_chunks_share_out_the_rows(
    frames: int, factor: int, per_chunk: int, modulus: int, extra: tuple[int, int, int, int]
) -> None:
    chunks = cut(frames, Context(3, 1, modulus), ChunkOptions(factor, per_chunk, *extra))
    rows = [row for chunk in chunks for row in range(chunk.first_output, chunk.first_output + chunk.num_outputs)]
    assert rows == list(range(math.ceil(frames / factor)))
    for chunk in chunks:
        assert chunk.span[0] <= -3 and chunk.span[1] >= (chunk.num_outputs - 1) * factor + 2
        used = chunk.frames(frames)
        assert len(used) == chunk.span[1] - chunk.span[0] and used.min() >= 0 and used.max() < frames


def test_the_middle_is_a_frame_of_the_utterance() -> None:
    for frames, middle in {61: 30, 97: 48, 140: 69}.items():
        (chunk,) = cut(frames, CONTEXT, ChunkOptions(3))
        assert chunk.middle == middle
    assert [chunk.middle for chunk in cut(140, CONTEXT, ChunkOptions(3, 51))] == [24, 75, 120]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((0,), "--frame-subsampling-factor must be at least 1"),
        ((3, -1), "--frames-per-chunk at least 0, not 3 and -1"),
        ((3, 50, -1), "--extra-left-context and --extra-right-context cannot be negative"),
        ((3, 50, 0, -2), "as 0 and -2 are"),
    ],
)
def test_impossible_options(options: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ChunkOptions(*options)


def test_output_times_are_of_the_type_that_requests_have() -> None:
    assert cut(10, CONTEXT, ChunkOptions(2))[0].output_times.dtype == np.int64
