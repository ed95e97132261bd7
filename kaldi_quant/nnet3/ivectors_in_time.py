"""The i-vector that a network takes at a time of an utterance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.units import Frames

# Kaldi tolerates i-vectors that end this many frames before the features.
_MARGIN = 50

#: Tells the i-vectors of an utterance: (dim,), or (rows, dim) for online ones; None if there are none.
IvectorSource = Callable[[str], np.ndarray | None]


@dataclass(frozen=True)
class IvectorsInTime:
    """I-vectors of utterances.

    Args:
        dim: that the network needs; 0 where it takes none.
        source: tells an utterance's.
        period: frames per row of online ones.
    """

    dim: int
    source: IvectorSource | None = None
    period: Frames = 0

    def of(self, utterance: str) -> np.ndarray | None:
        """All of an utterance, (dim,) or (rows, dim); None where the network takes none.

        Raises:
            DataError: there are none, or they cannot be used.
        """
        if not self.dim:
            return None
        found = self.source(utterance) if self.source is not None else None
        if found is None or found.size == 0:
            raise DataError(f"the model needs i-vectors of dimension {self.dim}, and there are none for it")
        if found.shape[-1] != self.dim:
            raise DataError(f"its i-vectors have {found.shape[-1]} columns, the model needs {self.dim}")
        if not np.isfinite(found).all():
            raise DataError("its i-vectors are not finite (NaN or infinity)")
        return found

    def at(self, ivectors: np.ndarray | None, frame: Frames) -> np.ndarray | None:
        """That of a frame, (dim,).

        Args:
            ivectors: of the utterance, from ``of``.
            frame: of the utterance.

        Raises:
            DataError: the period is missing, or the i-vectors end long before the frame.
        """
        if ivectors is None or ivectors.ndim == 1:
            return ivectors
        if self.period < 1:
            raise DataError("online i-vectors need --online-ivector-period, the frames per row (10 in Kaldi's recipes)")
        row, rows = frame // self.period, len(ivectors)
        if (row - (rows - 1)) * self.period > _MARGIN:
            raise DataError(
                f"no i-vector for frame {frame}: {rows} rows, one every {self.period} frames "
                "(--online-ivector-period), are too few"
            )
        return np.asarray(ivectors[min(row, rows - 1)])
