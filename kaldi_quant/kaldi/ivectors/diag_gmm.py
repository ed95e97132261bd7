"""Mixtures of Gaussians with diagonal covariances: the background model of an extractor, ``final.dubm``.

Source: ``src/gmm/diag-gmm.cc``; ``VectorToPosteriorEntry`` in ``src/hmm/posterior.cc``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.reader import Reader, open_reader

# ``VectorToPosteriorEntry`` is never asked for more of a frame than its most probable Gaussian.
_LARGEST_MIN_POST = 0.99


@dataclass(frozen=True, eq=False)
class DiagGmm:
    """A mixture.

    Args:
        gconsts: (gaussians,) float32, what does not depend on the features.
        means_invvars: (gaussians, dim) float32, means divided by variances.
        inv_vars: (gaussians, dim) float32, one divided by variances.
    """

    gconsts: np.ndarray
    means_invvars: np.ndarray
    inv_vars: np.ndarray

    @property
    def dim(self) -> int:
        """Of the features."""
        return int(self.inv_vars.shape[1])

    @classmethod
    def read(cls, reader: Reader) -> DiagGmm:
        """Reads ``<DiagGMM> … </DiagGMM>``.

        Raises:
            FormatError: the file holds something else, dimensions differ, or a value is not finite.
        """
        begin = reader.position
        reader.expect("<DiagGMM>", "<DiagGMMBegin>")
        if reader.peek_token() == "<GCONSTS>":
            reader.expect("<GCONSTS>")
            reader.vector()
        reader.expect("<WEIGHTS>")
        weights = reader.vector()
        reader.expect("<MEANS_INVVARS>")
        means_invvars = reader.matrix()
        reader.expect("<INV_VARS>")
        inv_vars = reader.matrix()
        reader.expect("</DiagGMM>", "<DiagGMMEnd>")
        if means_invvars.shape != inv_vars.shape or len(weights) != len(inv_vars) or not inv_vars.size:
            reader.fail(
                f"a mixture of {len(weights)} weights has means of {means_invvars.shape[0]} x {means_invvars.shape[1]} "
                f"and variances of {inv_vars.shape[0]} x {inv_vars.shape[1]}",
                begin,
            )
        if not (np.isfinite(means_invvars).all() and np.isfinite(inv_vars).all() and np.isfinite(weights).all()):
            reader.fail("a mixture has values that are not finite", begin)
        if (inv_vars <= 0).any() or (weights < 0).any() or not weights.sum() > 0:
            reader.fail("a mixture has a variance that is not positive, or weights that are negative", begin)
        return cls(_gconsts(weights, means_invvars, inv_vars), means_invvars, inv_vars)

    def log_likelihoods(self, feats: np.ndarray) -> np.ndarray:
        """Of each Gaussian, weight included.

        Args:
            feats: (frames, dim) float32.

        Returns:
            (frames, gaussians) float32.
        """
        found = self.gconsts + feats @ self.means_invvars.T - np.float32(0.5) * (np.square(feats) @ self.inv_vars.T)
        return np.asarray(found, np.float32)


def _gconsts(weights: np.ndarray, means_invvars: np.ndarray, inv_vars: np.ndarray) -> np.ndarray:
    """As ``DiagGmm::ComputeGconsts``, which Kaldi calls for what it has read."""
    offset = -0.5 * np.log(2 * np.pi) * inv_vars.shape[1]
    double, means = inv_vars.astype(np.float64), means_invvars.astype(np.float64)
    with np.errstate(divide="ignore"):
        found = np.log(weights.astype(np.float64)) + offset
    found += 0.5 * np.log(double).sum(1) - 0.5 * (np.square(means) / double).sum(1)
    # A Gaussian without weight is never chosen.
    return np.maximum(found, np.finfo(np.float32).min).astype(np.float32)


def read_diag_gmm(path: str | os.PathLike[str]) -> DiagGmm:
    """Reads a file such as ``final.dubm``, binary or text.

    Raises:
        FormatError: the file is missing or malformed.
    """
    return DiagGmm.read(open_reader(path))


def pruned_posteriors(log_likelihoods: np.ndarray, most: int, min_post: np.ndarray) -> np.ndarray:
    """Posteriors of which each frame keeps few.

    Args:
        log_likelihoods: (frames, gaussians) float32.
        most: so many are kept at most.
        min_post: (frames,), what is less probable than this is dropped.

    Returns:
        (frames, gaussians) float32, each row with the sum 1, nearly all of it 0.
    """
    frames, gaussians = log_likelihoods.shape
    limit = np.minimum(min_post, _LARGEST_MIN_POST).astype(np.float32)[:, None]
    posteriors = np.exp(log_likelihoods - log_likelihoods.max(1, keepdims=True))
    posteriors[posteriors <= limit] = 0.0
    if most < gaussians:
        rows = np.arange(frames)[:, None]
        dropped = np.argpartition(-posteriors, most - 1, axis=1)[:, most:]
        posteriors[rows, dropped] = 0.0
    total = posteriors.sum(1, keepdims=True)
    # The least probable one goes while it is below the limit's share of all that are left when pruning begins.
    posteriors[(posteriors < limit * total) & (posteriors < posteriors.max(1, keepdims=True))] = 0.0
    return np.asarray(posteriors / posteriors.sum(1, keepdims=True), np.float32)
