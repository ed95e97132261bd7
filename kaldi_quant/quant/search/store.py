"""What was measured, on disk after every measurement: costs of single widths, and whole models."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from kaldi_quant.made import changed_facts
from kaldi_quant.quant.measurement_file import read_measurements, write_measurements
from kaldi_quant.quant.search.measured_model import MeasuredModel, WordErrors
from kaldi_quant.quant.search.measurements import Choice, Measurement

_FORMAT = 2
_log = logging.getLogger(__name__)


class Store:
    """The measurements in a file, JSON, which appears whole after each of them.

    Args:
        path: of the file.
        about: what the measurements depend on: digests of model, configuration and data.
        scoring: what word errors depend on beside that: digests of graph and text; None where nothing is decoded. What
            was measured before without a graph stays valid. What was measured with other facts is measured again.

    Raises:
        DataError: the file is no such store.
    """

    def __init__(self, path: Path, about: dict[str, Any], scoring: dict[str, Any] | None = None) -> None:
        self.path, self.about, self.scoring = path, about, scoring
        self.measurements: list[Measurement] = []
        #: By digest of the configuration, which names every layer's widths.
        self.models: dict[str, MeasuredModel] = {}
        #: Of the float model.
        self.float_errors: WordErrors | None = None
        known = read_measurements(path, "width measurements", _FORMAT, about, _parsed)
        if known is not None:
            self._take(known)

    def _take(self, known: _Known) -> None:
        self.measurements = known.measurements
        self.scoring = self.scoring or known.scoring
        if known.scoring is not None and (others := changed_facts(known.scoring, self.scoring or {})):
            _log.info("the word errors in %s are counted again, as this has changed: %s", self.path, ", ".join(others))
            return
        self.models = {model.configuration: model for model in known.models}
        self.float_errors = known.float_errors

    def find(self, choice: Choice) -> Measurement | None:
        """The measurement of a choice, if it is known."""
        return next((known for known in self.measurements if known.choice == choice), None)

    def add(self, measurement: Measurement) -> None:
        """Keeps a measurement.

        Raises:
            DataError: the file cannot be written.
        """
        self.measurements.append(measurement)
        self._write()

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

    def _write(self) -> None:
        content: dict[str, Any] = {
            "measurements": [known.as_dict() for known in self.measurements],
            "models": [known.as_dict() for known in self.models.values()],
        }
        if self.scoring is not None:
            content["scoring"] = self.scoring
        if self.float_errors is not None:
            content["float"] = self.float_errors.as_dict()
        write_measurements(self.path, _FORMAT, self.about, content)


class _Known(NamedTuple):
    """What a file holds."""

    measurements: list[Measurement]
    models: list[MeasuredModel]
    float_errors: WordErrors | None
    scoring: dict[str, Any] | None


def _parsed(content: dict[str, Any]) -> _Known:
    scoring = content.get("scoring")
    if not isinstance(scoring, dict | None):
        raise ValueError("what its word errors depend on is no object")
    return _Known(
        [Measurement.from_dict(entry) for entry in content["measurements"]],
        [MeasuredModel.from_dict(entry) for entry in content.get("models", [])],
        WordErrors.from_dict(content.get("float") or {}),
        scoring,
    )
