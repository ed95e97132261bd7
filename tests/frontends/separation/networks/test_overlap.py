"""Chunks and their sums against what is written out place by place."""

import pytest
import torch
from torch.nn import functional

from kaldi_quant.frontends.separation.networks.overlap import chunked, merged, of_each, overlap_add


@pytest.mark.parametrize("frames", [1, 9, 10, 11, 14, 15, 16, 20, 33])
def test_chunks_are_windows_over_padded_frames(frames: int) -> None:
    x, size = torch.randn(2, 3, frames), 10
    found = chunked(x, size)
    padded = functional.pad(x, (size // 2, 3 * size))
    assert torch.equal(found, padded.unfold(2, size, size // 2)[:, :, : found.shape[2]])
    # All frames are in two chunks, and as few zeros behind them as make the chunks pairs.
    assert found.shape[2] % 2 == 0
    assert frames < (found.shape[2] - 1) * size // 2 <= frames + size


@pytest.mark.parametrize("frames", [1, 9, 10, 11, 14, 15, 16, 20, 33])
def test_chunks_add_up_to_twice_what_they_were_of(frames: int) -> None:
    x = torch.randn(2, 3, frames)
    assert torch.equal(merged(chunked(x, 10), 10, frames), 2 * x)


def test_frames_are_added_where_they_overlap() -> None:
    frames = torch.randn(2, 3, 4, 6)
    expected = torch.zeros(2, 3, 15)
    for place in range(4):
        expected[..., 3 * place : 3 * place + 6] += frames[:, :, place]
    torch.testing.assert_close(overlap_add(frames, 6), expected)


def test_a_layer_sees_one_sequence_at_a_time() -> None:
    layer, x = torch.nn.LSTM(3, 3, batch_first=True), torch.randn(2, 5, 4, 3)

    class First(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return layer(x)[0]  # type: ignore[no-any-return]

    expected = torch.stack([First()(x[:, place]) for place in range(5)], 1)
    torch.testing.assert_close(of_each(First(), x), expected)
