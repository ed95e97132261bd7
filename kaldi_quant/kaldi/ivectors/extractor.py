"""I-vector extractors, ``final.ie``: how the means of a mixture depend on a vector of the speaker and the channel.

Source: ``src/ivector/ivector-extractor.cc``; G. Saon, H. Soltau, D. Nahamoo and M. Picheny, "Speaker adaptation
of neural network acoustic models using i-vectors", ASRU 2013.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kaldi_quant.kaldi.ivectors.packed import read_symmetric
from kaldi_quant.kaldi.reader import Reader, open_reader

# The tag and the size of a matrix and of a symmetric one.
_SMALLEST_MATRIX = len(b"DM ") + 2 * 5


@dataclass(frozen=True, eq=False)
class IvectorExtractor:
    """An extractor whose mixture has weights that do not depend on the i-vector.

    Args:
        means: (gaussians, dim, ivector dim) float64, times an i-vector the means of the mixture.
        inverse_covariances: (gaussians, dim, dim) float64.
        prior_offset: the first element of the i-vector of nobody; all others are 0.
    """

    means: np.ndarray
    inverse_covariances: np.ndarray
    prior_offset: float

    @property
    def num_gauss(self) -> int:
        """Gaussians of the mixture."""
        return int(self.means.shape[0])

    @property
    def feat_dim(self) -> int:
        """Of the features."""
        return int(self.means.shape[1])

    @property
    def ivector_dim(self) -> int:
        """Of an i-vector."""
        return int(self.means.shape[2])

    @cached_property
    def weighted_means(self) -> np.ndarray:
        """(gaussians, dim, ivector dim): what a frame's features are multiplied by."""
        return np.asarray(self.inverse_covariances @ self.means)

    @cached_property
    def precisions(self) -> np.ndarray:
        """(gaussians, ivector dim, ivector dim): what a frame tells of the i-vector, whatever it is."""
        return np.asarray(self.means.transpose(0, 2, 1) @ self.weighted_means)

    @classmethod
    def read(cls, reader: Reader) -> IvectorExtractor:
        """Reads ``<IvectorExtractor> … </IvectorExtractor>``.

        Raises:
            FormatError: the file holds something else, dimensions differ, a value is not finite, or weights depend on
                the i-vector: no recipe for networks trains such extractors.
        """
        begin = reader.position
        reader.expect("<IvectorExtractor>")
        reader.expect("<w>")
        if reader.matrix(np.float64).size:
            reader.fail("an extractor whose weights depend on the i-vector cannot be used online", begin)
        reader.expect("<w_vec>")
        weights = reader.vector(np.float64)
        reader.expect("<M>")
        count = reader.count("matrices", _SMALLEST_MATRIX)
        means = [reader.matrix(np.float64) for _ in range(count)]
        reader.expect("<SigmaInv>")
        inverse = [read_symmetric(reader) for _ in range(count)]
        reader.expect("<IvectorOffset>")
        offset = float(reader.float64())
        reader.expect("</IvectorExtractor>")
        shapes = {(matrix.shape, symmetric.shape[0]) for matrix, symmetric in zip(means, inverse, strict=True)}
        if len(shapes) != 1 or len(weights) != count or not means[0].size or len(inverse[0]) != len(means[0]):
            reader.fail(f"the {count} Gaussians of an extractor differ in their dimensions", begin)
        found = cls(np.stack(means).astype(np.float64), np.stack(inverse), offset)
        if not (
            np.isfinite(found.means).all() and np.isfinite(found.inverse_covariances).all() and np.isfinite(offset)
        ):
            reader.fail("an extractor has values that are not finite", begin)
        return found


def read_extractor(path: str | os.PathLike[str]) -> IvectorExtractor:
    """Reads a file such as ``final.ie``, binary or text.

    Raises:
        FormatError: the file is missing or malformed.
    """
    return IvectorExtractor.read(open_reader(path))
