"""Which phones begin and end words: Kaldi's ``word_boundary.int``.

Source: ``WordBoundaryInfo`` in ``src/lat/word-align-lattice.{h,cc}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.text import read_text
from kaldi_quant.kaldi.transition_model import TransitionModel


class PhoneKind(Enum):
    """Where in a word a phone stands; values are those of the file."""

    NONWORD = "nonword"
    BEGIN = "begin"
    END = "end"
    INTERNAL = "internal"
    SINGLETON = "singleton"


@dataclass(frozen=True)
class WordBoundary:
    """Where in words phones stand.

    Args:
        kinds: by phone.
        path: where they were read, for messages.
    """

    kinds: dict[int, PhoneKind]
    path: str = "word_boundary.int"

    def of_transition_ids(self, transitions: TransitionModel) -> list[PhoneKind]:
        """The kind of each transition-id's phone; that at 0 has no meaning.

        Raises:
            DataError: a phone of the model has no kind.
        """
        phones = transitions.transition_id_to_phone[1:].tolist()
        missing = sorted(set(phones) - self.kinds.keys())
        if missing:
            raise DataError(
                f"{self.path}: does not say where in words phone {missing[0]} stands: it was made for another model"
            )
        return [PhoneKind.NONWORD, *(self.kinds[phone] for phone in phones)]


def read_word_boundary(path: str | Path) -> WordBoundary:
    """Reads a ``word_boundary.int``.

    Raises:
        FormatError: the file is missing, empty, or a line is not a phone and one of the five kinds.
    """
    known = {kind.value: kind for kind in PhoneKind}
    kinds: dict[int, PhoneKind] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 or not fields[0].isdecimal() or int(fields[0]) == 0 or fields[1] not in known:
            raise FormatError(
                str(path), None, f"line {number}: expected a phone and one of {', '.join(known)}, found {line!r}"
            )
        kinds[int(fields[0])] = known[fields[1]]
    if not kinds:
        raise FormatError(str(path), None, "the file is empty: expected a phone and where in words it stands a line")
    return WordBoundary(kinds, str(path))
