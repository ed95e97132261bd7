"""What was measured, on disk after every measurement: costs of single widths, and whole models."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kaldi_quant.made import changed_facts
from kaldi_quant.quant.measurement_file import MeasurementFile
from kaldi_quant.quant.search.options import Estimate
from kaldi_quant.units import Bits, Bytes, Nats

_log = logging.getLogger(__name__)

#: A network that is further from float than this has no use for words, and lattices of its noise grow without end.
MOST_NATS: Nats = 1.0


class Choice(NamedTuple):
    """What is measured while everything else is as in the base.

    Args:
        kind: base, nothing else; weights, of one layer; inputs, of the layers that share their grids.
        layer: the layer, or the first of those that share; empty for the base.
        bits: the width in question.
        estimate: how its cost is found.
    """

    kind: Literal["base", "weights", "inputs"]
    layer: str
    bits: Bits
    estimate: Estimate


@dataclass(frozen=True)
class Measurement:
    """What a choice costs.

    Args:
        choice: see there.
        divergence: mean distance of the output from the float network's, of acoustic models in nats per frame; of
            weights and inputs less that of the base.
    """

    choice: Choice
    divergence: Nats

    @property
    def key(self) -> Choice:
        """What was measured."""
        return self.choice

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.choice._asdict(), "divergence": self.divergence}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Measurement:
        """What ``as_dict`` made."""
        choice = Choice(*(content[name] for name in Choice._fields))
        return cls(choice, float(content["divergence"]))


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


class Store(MeasurementFile[Measurement]):
    """The measurements in a file: costs of single widths, and whole models.

    Args:
        path: of the file.
        about: what the measurements depend on: digests of model, configuration and data.
        scoring: what word errors depend on beside that: digests of graph and text; None where nothing is decoded. What
            was measured before without a graph stays valid. What was measured with other facts is measured again.

    Raises:
        DataError: the file is no such store.
    """

    what, version, entry = "width measurements", 2, Measurement

    def __init__(self, path: Path, about: dict[str, Any], scoring: dict[str, Any] | None = None) -> None:
        self.scoring = scoring
        #: By digest of the configuration, which names every layer's widths.
        self.models: dict[str, MeasuredModel] = {}
        #: Of the float model.
        self.float_errors: WordErrors | None = None
        super().__init__(path, about)

    def add_model(self, model: MeasuredModel) -> None:
        """Keeps what was measured of a model, instead of what was known of it before.

        Raises:
            DataError: the file cannot be written.
        """
        self.models[model.configuration] = model
        self._write()

    def add_float(self, errors: WordErrors) -> None:
        """Keeps the float model's word errors.

        Raises:
            DataError: the file cannot be written.
        """
        self.float_errors = errors
        self._write()

    def _parsed(self, content: dict[str, Any]) -> _Models:
        scoring = content.get("scoring")
        if not isinstance(scoring, dict | None):
            raise ValueError("what its word errors depend on is no object")
        models = [MeasuredModel.from_dict(entry) for entry in content.get("models", [])]
        return _Models(models, WordErrors.from_dict(content.get("float") or {}), scoring)

    def _take(self, more: _Models) -> None:
        self.scoring = self.scoring or more.scoring
        if more.scoring is not None and (others := changed_facts(more.scoring, self.scoring or {})):
            _log.info("the word errors in %s are counted again, as this has changed: %s", self.path, ", ".join(others))
            return
        self.models = {model.configuration: model for model in more.models}
        self.float_errors = more.float_errors

    def _more(self) -> dict[str, Any]:
        content: dict[str, Any] = {"models": [known.as_dict() for known in self.models.values()]}
        if self.scoring is not None:
            content["scoring"] = self.scoring
        if self.float_errors is not None:
            content["float"] = self.float_errors.as_dict()
        return content


class _Models(NamedTuple):
    """What a file holds of whole models."""

    models: list[MeasuredModel]
    float_errors: WordErrors | None
    scoring: dict[str, Any] | None
