"""A network of a fixed number of frames on signals of any length, as the application on a board runs it.

A call sees ``lookahead`` frames, a patch, and ``lookahead`` frames behind it; the mask of the patch is kept. Patches
lie side by side from the first frame on; around the signal is silence. 40 frames with a lookahead of 5 are patches of
30, 300 ms at a hop of 10 ms: what a board's listener waits for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.zoo.front import MaskFunction
from kaldi_quant.units import Frames

# The deployment of the zoo: of 40 frames, 5 on each side.
_LOOKAHEAD = 5


@dataclass(frozen=True)
class Windowed:
    """A mask of any number of frames, from a network of a fixed one.

    Args:
        mask: of ``frames`` frames.
        frames: of a call.
        lookahead: frames of it on each side that are seen only.

    Raises:
        UsageError: no frame is left between them.
    """

    mask: MaskFunction
    frames: Frames
    lookahead: Frames

    def __post_init__(self) -> None:
        if self.frames - 2 * self.lookahead < 1 or self.lookahead < 0:
            raise UsageError(
                f"a network of {self.frames} frames has no room for {self.lookahead} frames of lookahead on each side"
            )

    @property
    def patch(self) -> Frames:
        """Frames that a call gives."""
        return self.frames - 2 * self.lookahead

    def __call__(self, magnitudes: Tensor) -> Tensor:
        """The mask of magnitudes (N, bins, T)."""
        length = magnitudes.shape[-1]
        behind = -length % self.patch
        padded = functional.pad(magnitudes, (self.lookahead, self.lookahead + behind))
        ends = slice(self.lookahead, self.lookahead + self.patch)
        patches = [
            self.mask(padded[..., begin : begin + self.frames])[..., ends] for begin in range(0, length, self.patch)
        ]
        return torch.cat(patches, -1)[..., :length]


def lookahead_of(frames: Frames, patch: Frames, lookahead: Frames) -> Frames:
    """The lookahead of a network of so many frames: the deployment's, where it is for such a network.

    Args:
        frames: of the network.
        patch: of the deployment.
        lookahead: of the deployment.

    Example:
        >>> lookahead_of(40, 30, 5), lookahead_of(60, 30, 15), lookahead_of(100, 30, 5), lookahead_of(4, 30, 5)
        (5, 15, 5, 1)
    """
    if frames == patch + 2 * lookahead:
        return lookahead
    return min(_LOOKAHEAD, (frames - 1) // 2)
