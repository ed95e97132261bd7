"""What was heard of a speaker so far, and the i-vector that fits it best.

Source: ``OnlineIvectorEstimationStats`` in ``src/ivector/ivector-extractor.cc``; ``LinearCgd`` in
``src/matrix/optimization.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.ivectors.extractor import IvectorExtractor

# ``LinearCgdOptions::recompute_residual_factor``, squared as norms are here.
_RECOMPUTE = 0.01**2
# More iterations than dimensions help against rounding: ``LinearCgd`` makes so many more.
_MORE_ITERATIONS = 5
_WORSE = 1e-10


@dataclass
class Statistics:
    """A quadratic function of the i-vector, and how much was heard.

    Args:
        quadratic: (dim, dim) float64.
        linear: (dim,) float64.
        prior_offset: of the extractor.
        max_count: beyond so many frames (times the scale of posteriors) the prior grows with them; 0 for never.
        num_frames: that were heard, times the scale of posteriors.
    """

    quadratic: np.ndarray
    linear: np.ndarray
    prior_offset: float
    max_count: float
    num_frames: float = 0.0

    @classmethod
    def of_nobody(cls, extractor: IvectorExtractor, max_count: float) -> Statistics:
        """Before anything was heard."""
        linear = np.zeros(extractor.ivector_dim)
        linear[0] = extractor.prior_offset
        return cls(np.eye(extractor.ivector_dim), linear, extractor.prior_offset, max_count)

    def copy(self) -> Statistics:
        """One that changes alone."""
        return Statistics(self.quadratic.copy(), self.linear.copy(), self.prior_offset, self.max_count, self.num_frames)

    def accumulate(self, extractor: IvectorExtractor, feats: np.ndarray, posteriors: np.ndarray) -> None:
        """Adds frames.

        Args:
            extractor: whose mixture has the posteriors.
            feats: (frames, dim) float32.
            posteriors: (frames, gaussians) float32, weights of frames included; they may be negative, to take frames
                back.
        """
        heard = np.flatnonzero(posteriors.any(0))
        kept = posteriors[:, heard].astype(np.float64)
        sums, counts = kept.T @ feats.astype(np.float64), kept.sum(0)
        self.linear += np.einsum("gdi,gd->i", extractor.weighted_means[heard], sums)
        self.quadratic += np.tensordot(counts, extractor.precisions[heard], 1)
        total = float(counts.sum())
        if self.max_count > 0:
            self._strengthen_prior(self._prior_scale(self.num_frames + total) - self._prior_scale(self.num_frames))
        self.num_frames += total

    def limit(self, most: float) -> None:
        """Scales down what was heard to so many frames (times the scale of posteriors)."""
        if self.num_frames <= most:
            return
        scale = most / self.num_frames
        before = self.num_frames
        self.num_frames *= scale
        self.quadratic *= scale
        self.linear *= scale
        if self.max_count > 0:
            self._strengthen_prior(self._prior_scale(self.num_frames) - scale * self._prior_scale(before))
        else:
            self._strengthen_prior(1.0 - scale)

    def _prior_scale(self, frames: float) -> float:
        return max(frames, self.max_count) / self.max_count

    def _strengthen_prior(self, by: float) -> None:
        self.linear[0] += self.prior_offset * by
        self.quadratic[np.diag_indices_from(self.quadratic)] += by

    def ivector(self, start: np.ndarray, iterations: int) -> np.ndarray:
        """The i-vector, by so many steps of conjugate gradients.

        Args:
            start: (dim,) float64, the i-vector that was found last.
            iterations: at most.

        Returns:
            (dim,) float64, with the prior's offset within.
        """
        if self.num_frames <= 0:
            found = np.zeros_like(start)
            found[0] = self.prior_offset
            return found
        start = start.copy()
        if start[0] == 0.0:
            start[0] = self.prior_offset
        return conjugate_gradients(self.quadratic, self.linear, start, iterations)


def conjugate_gradients(matrix: np.ndarray, target: np.ndarray, start: np.ndarray, iterations: int) -> np.ndarray:
    """Solves ``matrix @ x = target`` for a positive definite matrix, about.

    Args:
        matrix: (dim, dim) float64.
        target: (dim,) float64.
        start: (dim,) float64.
        iterations: at most.

    Returns:
        (dim,) float64; the exact solution where steps lead away from it.
    """
    x, residual = start.copy(), matrix @ start - target
    direction = -residual
    norm = first = recomputed = float(residual @ residual)
    for _ in range(min(iterations, len(target) + _MORE_ITERATIONS)):
        along = matrix @ direction
        curvature = float(direction @ along)
        if norm == 0.0 or curvature == 0.0:
            break
        step = -float(direction @ residual) / curvature
        x += step * direction
        residual = residual + step * along
        following = float(residual @ residual)
        if following < _RECOMPUTE * recomputed or following > recomputed / _RECOMPUTE:
            residual = matrix @ x - target
            following = recomputed = float(residual @ residual)
        if following <= np.finfo(np.float64).tiny:
            norm = following
            break
        direction = following / norm * direction - residual
        norm = following
    if norm > first + _WORSE * float(target @ target):
        return np.asarray(np.linalg.solve(matrix, target))
    return x
