"""What was measured of a model that was really quantized: its size, its divergence, its word errors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from kaldi_quant.units import Bits, Bytes, Nats

#: A network that is further from float than this has no use for words, and lattices of its noise grow without end.
MOST_NATS: Nats = 1.0


class WordErrors(NamedTuple):
    """What scoring counts.

    Args:
        errors: insertions, deletions and substitutions.
        words: of the references.
    """

    errors: int
    words: int

    @property
    def percent(self) -> float:
        """The word error rate."""
        return 100.0 * self.errors / self.words

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self._asdict(), "wer": self.percent}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> WordErrors | None:
        """What ``as_dict`` made; None where there are no errors in it."""
        if content.get("errors") is None:
            return None
        return cls(int(content["errors"]), int(content["words"]))


@dataclass(frozen=True)
class MeasuredModel:
    """A model and what was measured of it, all on development data.

    Args:
        configuration: digest of the configuration that it was quantized with.
        bits: for each layer the width of its weights, FLOAT_BITS in float.
        act_bits: for each layer the width of its input.
        bytes: of the file.
        divergence: mean Kullback-Leibler divergence from the float network, nats per frame.
        word_errors: None where it was not decoded.
    """

    configuration: str
    bits: dict[str, Bits]
    act_bits: dict[str, Bits]
    bytes: Bytes
    divergence: Nats
    word_errors: WordErrors | None = None

    @property
    def can_be_decoded(self) -> bool:
        """Whether it is near enough to float for its words to mean something."""
        # Not "divergence > MOST_NATS", which a NaN passes.
        return self.divergence <= MOST_NATS

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        scores = self.word_errors.as_dict() if self.word_errors else dict.fromkeys(("errors", "words", "wer"))
        content = {key: value for key, value in asdict(self).items() if key != "word_errors"}
        note = "" if self.can_be_decoded else f"not decoded: its divergence is not below {MOST_NATS:g} nat"
        return {**content, **scores, "note": note}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> MeasuredModel:
        """What ``as_dict`` made."""
        return cls(
            str(content["configuration"]),
            dict(content["bits"]),
            dict(content["act_bits"]),
            int(content["bytes"]),
            float(content["divergence"]),
            WordErrors.from_dict(content),
        )
