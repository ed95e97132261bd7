"""Derivatives over time appended to features, as ``add-deltas`` does it.

Source: ``src/featbin/add-deltas.cc``, ``DeltaFeatures`` in ``src/feat/feature-functions.cc``.
"""

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError, UsageError

# Kaldi's own bounds, against nonsense.
_MOST = 1000


@dataclass(frozen=True)
class DeltaOptions:
    """The options of ``add-deltas``, with its defaults.

    Attributes:
        delta_order: the highest derivative.
        delta_window: a derivative looks at so many frames on either side.
        truncate: columns that are kept before; 0 for all.
    """

    delta_order: int = 2
    delta_window: int = 2
    truncate: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.delta_order < _MOST or not 0 < self.delta_window < _MOST or self.truncate < 0:
            raise UsageError(
                f"--delta-order={self.delta_order} --delta-window={self.delta_window} --truncate={self.truncate}: "
                f"expected an order from 0, a window from 1, both below {_MOST}, and no negative number"
            )

    def output_dim(self, dim: int) -> int:
        """The dimension of what features of dimension ``dim`` become."""
        return (self.truncate or dim) * (self.delta_order + 1)


def add_deltas(feats: np.ndarray, options: DeltaOptions) -> np.ndarray:
    """Appends derivatives; at the edges the first and the last frame are repeated.

    Args:
        feats: (frames, dim) float32.
        options: which.

    Returns:
        (frames, dim · (order + 1)) float32.

    Raises:
        DataError: there are less columns than are to be kept.
    """
    if options.truncate > feats.shape[1]:
        raise DataError(f"--truncate={options.truncate}: the features have dimension {feats.shape[1]}")
    kept = feats[:, : options.truncate or None]
    scales, parts = np.ones(1), [kept]
    for _ in range(options.delta_order):
        scales = _next_scales(scales, options.delta_window)
        parts.append(_weighted(kept, scales))
    return np.concatenate(parts, 1, dtype=np.float32)


def _next_scales(scales: np.ndarray, window: int) -> np.ndarray:
    """The weights of frames of one derivative more, in the order of frames."""
    offsets = np.arange(-window, window + 1, dtype=np.float64)
    return np.convolve(scales, offsets) / np.square(offsets).sum()


def _weighted(feats: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Each frame's weighted sum of its neighbours."""
    reach = len(scales) // 2
    padded = np.pad(feats, ((reach, reach), (0, 0)), "edge").astype(np.float64)
    return sum(scale * padded[i : i + len(feats)] for i, scale in enumerate(scales) if scale)
