"""How far from float a network is while it is being quantized: told now and then, for the report of progress."""

from __future__ import annotations

import math
import time

from kaldi_quant.quant.distance import Distance
from kaldi_quant.quant.side_by_side import SideBySide
from kaldi_quant.units import Seconds

# Between two measurements lie so many seconds, and so many times what one has taken.
_INTERVAL: Seconds = 10.0
_SHARE = 20.0


class SoFar:
    """The distance of outputs on one batch of the calibration set.

    Args:
        together: the two networks.
        distance: of their outputs.
    """

    def __init__(self, together: SideBySide, distance: Distance) -> None:
        self.together, self.distance = together, distance
        self._text = ""
        self._next = time.monotonic() + _INTERVAL

    def __str__(self) -> str:
        """What there is to say; empty before the first measurement."""
        begin = time.monotonic()
        if begin >= self._next:
            found = self.together.distance(self.distance)
            self._text = (
                f", {self.distance.name} so far {found:.3g} {self.distance.unit}" if math.isfinite(found) else ""
            )
            end = time.monotonic()
            self._next = end + max(_INTERVAL, _SHARE * (end - begin))
        return self._text
