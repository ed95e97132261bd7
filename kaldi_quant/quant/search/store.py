"""What was measured, on disk after every measurement: costs of single widths, and whole models."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.made import changed_facts
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
        self.scoring = self.scoring or scoring
        if others := changed_facts(about, self.about):
            _log.info("%s is measured again, as this has changed: %s", self.path, ", ".join(others))
            self.measurements, self.models, self.float_errors = [], {}, None
        elif scoring is not None and (others := changed_facts(scoring, self.scoring or {})):
            _log.info("the word errors in %s are counted again, as this has changed: %s", self.path, ", ".join(others))
            self.models, self.float_errors = {}, None

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
