"""What convolutions read, and the gradients of it, beside torch's own convolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from kaldi_quant.torchnn.forms.convolution import patches

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "dilation"),
    [
        ((2, 3, 17), (4,), (2,), (3,)),
        ((2, 3, 5), (5,), (1,), (1,)),
        ((1, 1, 43), (9,), (4,), (1,)),
        ((2, 3, 9, 11), (2, 3), (1, 2), (1, 1)),
        ((2, 2, 5, 6, 7), (2, 3, 2), (1, 2, 1), (2, 1, 3)),
    ],
)
def test_values_and_gradients(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    random = torch.Generator().manual_seed(4)
    x = torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, shape[1], *kernel, generator=random, dtype=torch.float64)
    expected = _CONVOLUTIONS[len(kernel)](x, weight, stride=stride, dilation=dilation)
    found = (patches(x, kernel, stride, dilation) @ weight.flatten(1).T).movedim(-1, 1)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(found.shape, generator=random, dtype=torch.float64)
    gradients = [torch.autograd.grad(y, x, upstream)[0] for y in (expected, found)]
    torch.testing.assert_close(gradients[1], gradients[0])
