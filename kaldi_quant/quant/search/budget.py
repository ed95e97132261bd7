"""What an allocation of widths may cost, as a person writes it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from kaldi_quant.errors import UsageError

#: bytes: of the artefact in the file system. bits: of a mean weight. nats: of the predicted divergence per frame.
#: wer: percent by which the measured word error rate may be above the float model's.
BudgetKind = Literal["bytes", "bits", "nats", "wer"]

_UNITS: dict[str, tuple[BudgetKind, float]] = {
    "byte": ("bytes", 1.0),
    "bytes": ("bytes", 1.0),
    "kb": ("bytes", 1e3),
    "mb": ("bytes", 1e6),
    "gb": ("bytes", 1e9),
    "kib": ("bytes", 2.0**10),
    "mib": ("bytes", 2.0**20),
    "gib": ("bytes", 2.0**30),
    "bit": ("bits", 1.0),
    "bits": ("bits", 1.0),
    "nat": ("nats", 1.0),
    "nats": ("nats", 1.0),
    "%wer": ("wer", 1.0),
}
_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?[A-Za-z]+)\s*")
_ALLOWED = (
    "a size (300000 bytes, 800 kB, 1 MB), mean bits per weight (3.2 bits), a largest divergence (0.05 nats) or by how "
    "much the word error rate may be above the float model's (0.2 %WER)"
)


@dataclass(frozen=True)
class Budget:
    """What must not be exceeded.

    Args:
        kind: what is limited; with bytes and bits the divergence is minimised, with nats and wer the size.
        amount: in the unit that ``kind`` names.
        text: as it was written.
    """

    kind: BudgetKind
    amount: float
    text: str


def parse_budget(text: str) -> Budget:
    """Reads a budget: a number and a unit. A kB is 1000 bytes, a KiB 1024.

    Raises:
        UsageError: it is of no such form, or not positive; of word error rates zero is allowed.

    Example:
        >>> parse_budget("800 kB")
        Budget(kind='bytes', amount=800000.0, text='800 kB')
    """
    found = _FORM.fullmatch(text)
    unit = _UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise UsageError(f"the budget {text!r} is not understood: give {_ALLOWED}")
    amount = float(found[1]) * unit[1]
    if not 0 < amount < math.inf and not (unit[0] == "wer" and amount == 0):
        raise UsageError(f"the budget {text!r} is not positive: give {_ALLOWED}")
    return Budget(unit[0], amount, text.strip())
