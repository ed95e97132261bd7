"""What was measured, on disk after every measurement: costs of single widths, and whole models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.quant.search.measured_model import MeasuredModel, WordErrors
from kaldi_quant.quant.search.measurements import Choice, Measurement

_FORMAT = 2


class Store:
    """The measurements in a file, JSON, which appears whole after each of them.

    Args:
        path: of the file.
        about: what the measurements depend on: digests of model, configuration and data.
        scoring: what word errors depend on beside that: digests of graph and text; None where nothing is decoded. What
            was measured before without a graph stays valid.

    Raises:
        DataError: the file is no such store, or its measurements depend on something else.
    """

    def __init__(self, path: Path, about: dict[str, Any], scoring: dict[str, Any] | None = None) -> None:
        self.path, self.about, self.scoring = path, about, scoring
        self.measurements: list[Measurement] = []
        #: By digest of the configuration, which names every layer's widths.
        self.models: dict[str, MeasuredModel] = {}
        #: Of the float model.
        self.float_errors: WordErrors | None = None
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text("utf-8"))
            about, scoring = content["about"], content.get("scoring")
            self.measurements = [Measurement.from_dict(entry) for entry in content["measurements"]]
            models = [MeasuredModel.from_dict(entry) for entry in content.get("models", [])]
            self.float_errors = WordErrors.from_dict(content.get("float") or {})
            if content["format"] != _FORMAT or not isinstance(about, dict) or not isinstance(scoring, dict | None):
                raise ValueError(f"its format is not {_FORMAT}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.path} is not a file of width measurements ({error}): move it away") from error
        self.models = {model.configuration: model for model in models}
        self._check("measurements", about, self.about)
        if scoring is not None and self.scoring is not None:
            self._check("word errors", scoring, self.scoring)
        self.scoring = self.scoring or scoring

    def _check(self, what: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        known = json.loads(json.dumps(wanted))
        others = [key for key in {**found, **known} if found.get(key) != known.get(key)]
        if others:
            raise DataError(
                f"{self.path}: holds {what} with another {' and another '.join(others)}: move it away, or give "
                "another folder"
            )

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
        content: dict[str, Any] = {"format": _FORMAT, "about": self.about}
        content["measurements"] = [known.as_dict() for known in self.measurements]
        content["models"] = [known.as_dict() for known in self.models.values()]
        if self.scoring is not None:
            content["scoring"] = self.scoring
        if self.float_errors is not None:
            content["float"] = self.float_errors.as_dict()
        with atomic_write(self.path, "w") as stream:
            stream.write(json.dumps(content, indent=1) + "\n")
