"""Neighbouring frames put side by side, and linear transforms, as ``splice-feats`` and ``transform-feats`` do them.

Source: ``src/featbin/splice-feats.cc``, ``src/featbin/transform-feats.cc``, ``SpliceFrames`` in
``src/feat/feature-functions.cc``.
"""

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError, UsageError

# No network looks further, and more would only fill the memory.
_MOST = 1000


@dataclass(frozen=True)
class SpliceOptions:
    """The options of ``splice-feats``, with its defaults: frames on either side."""

    left_context: int = 4
    right_context: int = 4

    def __post_init__(self) -> None:
        if not (0 <= self.left_context < _MOST and 0 <= self.right_context < _MOST):
            raise UsageError(
                f"--left-context={self.left_context} --right-context={self.right_context}: expected 0 to {_MOST - 1}"
            )

    def output_dim(self, dim: int) -> int:
        """The dimension of what features of dimension ``dim`` become."""
        return dim * (self.left_context + 1 + self.right_context)


def splice(feats: np.ndarray, options: SpliceOptions) -> np.ndarray:
    """Puts neighbours side by side; at the edges the first and the last frame are repeated.

    Args:
        feats: (frames, dim) float32.
        options: how many.

    Returns:
        (frames, dim · (left + 1 + right)) float32.
    """
    offsets = np.arange(-options.left_context, options.right_context + 1)
    rows = (np.arange(len(feats))[:, None] + offsets).clip(0, len(feats) - 1)
    return feats[rows].reshape(len(feats), -1)


class SpliceStream:
    """Puts neighbours side by side where a few frames come at a time.

    Args:
        options: how many.
    """

    def __init__(self, options: SpliceOptions) -> None:
        self.options = options
        #: Frames that are still needed; before the first one it is repeated.
        self._frames: np.ndarray | None = None

    def push(self, feats: np.ndarray) -> np.ndarray:
        """Takes the next frames, (frames, dim) float32, and gives those that have all their neighbours."""
        if not len(feats):
            return np.zeros((0, self.options.output_dim(feats.shape[1])), np.float32)
        if self._frames is None:
            self._frames = np.repeat(feats[:1], self.options.left_context, 0)
        self._frames = np.concatenate([self._frames, feats])
        return self._spliced()

    def finish(self) -> np.ndarray:
        """Gives the last frames; after the last one it is repeated."""
        if self._frames is None:
            return np.zeros((0, 0), np.float32)
        last = np.repeat(self._frames[-1:], self.options.right_context, 0)
        self._frames = np.concatenate([self._frames, last])
        return self._spliced()

    def _spliced(self) -> np.ndarray:
        assert self._frames is not None
        frames, width = self._frames, self.options.output_dim(1)
        ready = len(frames) - width + 1
        if ready <= 0:
            return np.zeros((0, self.options.output_dim(frames.shape[1])), np.float32)
        self._frames = frames[ready:]
        return frames[np.arange(ready)[:, None] + np.arange(width)].reshape(ready, -1)


def transform(feats: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiplies by a matrix.

    Args:
        feats: (frames, dim) float32.
        matrix: (out, dim), or (out, dim + 1) whose last column is added.

    Returns:
        (frames, out) float32.

    Raises:
        DataError: the matrix does not fit the features.
    """
    rows, columns = matrix.shape
    dim = feats.shape[1]
    if columns not in (dim, dim + 1):
        raise DataError(
            f"a transform of {rows} x {columns} needs features of dimension {columns} or {columns - 1}, found {dim}"
        )
    product = feats @ matrix[:, :dim].T.astype(np.float32)
    return product if columns == dim else product + matrix[:, dim].astype(np.float32)
