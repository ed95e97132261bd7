"""Cepstral mean and variance normalisation of whole utterances, as ``apply-cmvn`` does it.

Statistics are Kaldi's: (2, dim + 1) float64, the sums of the frames and their number, then the sums of their squares
and 0. Means need the first row alone.

Source: ``src/featbin/apply-cmvn.cc``, ``src/featbin/compute-cmvn-stats.cc``, ``src/transform/cmvn.cc``.
"""

from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.parse_options import integers

# apply-cmvn's own.
_VARIANCE_FLOOR = 1e-20


@dataclass(frozen=True)
class CmvnOptions:
    """The options of ``apply-cmvn``, with its defaults.

    Attributes:
        norm_means: whether means become 0; without it nothing is done at all.
        norm_vars: whether variances become 1.
        reverse: the other way round: means and variances that are 0 and 1 become those of the statistics.
        skip_dims: columns that stay as they are, such as ``13:14``.
    """

    norm_means: bool = True
    norm_vars: bool = False
    reverse: bool = False
    skip_dims: str = ""

    def __post_init__(self) -> None:
        integers(self.skip_dims, "skip-dims")
        if self.norm_vars and not self.norm_means:
            raise UsageError("--norm-vars=true with --norm-means=false: variances are normalised with means alone")


def accumulate(feats: np.ndarray) -> np.ndarray:
    """The statistics of frames: (2, dim + 1) float64, feats: (frames, dim)."""
    # Kaldi squares in single precision, and sums in double.
    sums, squares = (values.astype(np.float64).sum(0) for values in (feats, np.square(feats)))
    return np.array([[*sums, len(feats)], [*squares, 0.0]])


def apply_cmvn(feats: np.ndarray, stats: np.ndarray, options: CmvnOptions) -> np.ndarray:
    """Normalises an utterance.

    Args:
        feats: (frames, dim) float32.
        stats: (2, dim + 1) float64, or (1, dim + 1) for means alone.
        options: what is done.

    Returns:
        (frames, dim) float32.

    Raises:
        DataError: the statistics do not fit the features, or are of less than one frame.
    """
    if not options.norm_means:
        return feats
    check_stats(stats, feats.shape[1], options.norm_vars, options.skip_dims)
    return normalise(feats, without(stats, options.skip_dims), options.norm_vars, options.reverse)


def check_stats(stats: np.ndarray, dim: int, norm_vars: bool, skip_dims: str) -> None:
    """Raises DataError where statistics cannot normalise features of this dimension."""
    rows, columns = stats.shape
    if columns != dim + 1:
        raise DataError(f"the features have dimension {dim}, and the statistics to normalise them {columns - 1}")
    if rows == 1 and (norm_vars or skip_dims):
        option = "--norm-vars=true" if norm_vars else f"--skip-dims={skip_dims}"
        raise DataError(f"{option} needs statistics of variances, and there are those of means alone")
    if not np.isfinite(stats).all() or stats[0, -1] < 1:
        raise DataError(f"the statistics are of {stats[0, -1]:g} frames, or are not finite: too few to normalise with")
    if outside := [d for d in integers(skip_dims, "skip-dims") if not 0 <= d < dim]:
        raise DataError(f"--skip-dims={skip_dims}: there is no dimension {outside[0]} in features of dimension {dim}")


def without(stats: np.ndarray, skip_dims: str) -> np.ndarray:
    """Statistics that leave some columns as they are: of mean 0 and variance 1 there; (…, 2, dim + 1)."""
    dims = list(integers(skip_dims, "skip-dims"))
    if not dims:
        return stats
    changed = stats.copy()
    changed[..., 0, dims] = 0.0
    changed[..., 1, dims] = stats[..., 0, -1:]
    return changed


def normalise(feats: np.ndarray, stats: np.ndarray, norm_vars: bool, reverse: bool = False) -> np.ndarray:
    """Features with means and variances taken out, or, reversed, put in.

    Args:
        feats: (frames, dim) float32.
        stats: (rows, dim + 1) float64, or (frames, rows, dim + 1) for statistics of each frame's own.
        norm_vars: whether variances are normalised.
        reverse: whether the statistics are put in.
    """
    count = stats[..., 0, -1:]
    mean = stats[..., 0, :-1] / count
    if not norm_vars:
        return feats + (mean if reverse else -mean).astype(np.float32)
    variance = np.maximum(stats[..., 1, :-1] / count - np.square(mean), _VARIANCE_FLOOR)
    if reverse:
        return feats * np.sqrt(variance).astype(np.float32) + mean.astype(np.float32)
    scale = 1 / np.sqrt(variance)
    return feats * scale.astype(np.float32) + (-mean * scale).astype(np.float32)
