"""The way back through a layer that gives a signal: a layer of mirrored shape."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import ModelError

#: Layers that give a signal.
Decoder = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear
_MIRRORED = {nn.ConvTranspose1d: nn.Conv1d, nn.ConvTranspose2d: nn.Conv2d}
# What a way back may be wrong by, as a share of the signal, to count as one.
_TOLERANCE = 1e-3


def check_decoder(name: str, module: nn.Module) -> Decoder:
    """A module as a layer that gives a signal.

    Raises:
        ModelError: it is none that has a mirrored layer.
    """
    if isinstance(module, nn.Linear):
        return module
    if (
        isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d)
        and module.groups == 1
        and set(module.dilation) == {1}
    ):
        return module
    raise ModelError(
        f"the decoder {name} is a {type(module).__name__}: expected a Linear, or a ConvTranspose1d or ConvTranspose2d "
        "without groups and dilation"
    )


def frames_beyond(decoder: Decoder) -> tuple[int, ...]:
    """How many frames on each side of what a decoder reads would reach into what it gives, from the last axis on."""
    if isinstance(decoder, nn.Linear):
        return ()
    return tuple(-(-(size - step) // step) for size, step in zip(decoder.kernel_size, decoder.stride, strict=True))


def with_frames_beyond(decoder: Decoder) -> Decoder:
    """A copy of a decoder that reads these frames, too, and gives what the decoder does."""
    found = copy.deepcopy(decoder)
    if not isinstance(found, nn.Linear):
        padding: list[int] = list(found.padding)  # type: ignore[arg-type]
        for axis, (frames, step) in enumerate(zip(frames_beyond(decoder), found.stride, strict=True)):
            padding[axis] += frames * step
        found.padding = tuple(padding)
    return found


def mirrored(decoder: Decoder) -> nn.Module:
    """A layer from what a decoder gives to what it reads, of random weights, without a bias."""
    if isinstance(decoder, nn.Linear):
        return nn.Linear(decoder.out_features, decoder.in_features, bias=False)
    kind = _MIRRORED[type(decoder)]
    sizes = (decoder.kernel_size, decoder.stride, decoder.padding)
    return kind(decoder.out_channels, decoder.in_channels, *sizes, bias=False)  # type: ignore[arg-type]


def right_inverse(decoder: Decoder) -> Tensor | None:
    """The weight of the mirrored layer with which the decoder gives back the signal that went in.

    Both have the ``frames_beyond``. None where the decoder has too few channels for that.
    """
    weight = decoder.weight.detach().double()
    if isinstance(decoder, nn.Linear):
        rows, windows = weight.T, torch.ones(decoder.out_features, dtype=torch.float64)
    else:
        rows = weight.flatten(1)
        windows = _windows(weight.shape[1:], decoder.stride).flatten()
    # decoder(inverse(y)): overlapping frames of the windowed signal, which add up to it.
    found = torch.linalg.pinv(rows.T) * windows
    if float((rows.T @ found - windows.diag()).abs().max()) > _TOLERANCE:
        return None
    return (found if isinstance(decoder, nn.Linear) else found.view(weight.shape)).float()


def _windows(shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    """(out, *kernel): windows of frames that add up to one."""
    found = torch.ones(shape, dtype=torch.float64)
    for places in itertools.product(*map(range, shape[1:])):
        frames = [
            math.ceil((size - place % step) / step) for size, place, step in zip(shape[1:], places, stride, strict=True)
        ]
        where: tuple[Any, ...] = (slice(None), *places)
        found[where] = 1 / math.prod(frames)
    return found
