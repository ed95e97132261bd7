"""Measurements in a JSON file that is whole after each of them, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.made import changed_facts

_log = logging.getLogger(__name__)


class Measured(Protocol):
    """A measurement, as a file keeps it."""

    @property
    def key(self) -> Hashable:
        """What was measured: of one key a file has one measurement."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """What ``as_dict`` made."""


Entry = TypeVar("Entry", bound=Measured)


class MeasurementFile(Generic[Entry]):
    """The measurements in a file. A subclass says of which kind they are, and may keep more beside them.

    Args:
        path: of the file.
        about: what measurements depend on: digests of model, configuration and data. Where that has changed they are
            forgotten, and a message says why.

    Raises:
        DataError: the file is something else.
    """

    #: What it holds, for messages; the version of its form; the class of a measurement.
    what: ClassVar[str]
    version: ClassVar[int]
    entry: ClassVar[type[Any]]

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, dict(about)
        #: The order of some keys' measurements in the file, behind all others; they may be made in another one.
        self.order: Sequence[Hashable] = ()
        #: By what was measured.
        self.measurements: dict[Hashable, Entry] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text("utf-8"))
            if content["format"] != self.version:
                raise ValueError(f"its format is not {self.version}")
            before = dict(content["about"])
            entries = [self.entry.from_dict(entry) for entry in content["measurements"]]
            more = self._parsed(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.path} is not a file of {self.what} ({error}): move it away") from error
        if others := changed_facts(before, self.about):
            _log.info("%s is measured again, as this has changed: %s", self.path, ", ".join(others))
            return
        self.measurements = {entry.key: entry for entry in entries}
        self._take(more)

    def find(self, key: Hashable) -> Entry | None:
        """The measurement of a key, if it is known."""
        return self.measurements.get(key)

    def add(self, measurement: Entry) -> None:
        """Keeps a measurement, instead of what was known under its key before.

        Raises:
            DataError: the file cannot be written.
        """
        self.measurements[measurement.key] = measurement
        self._write()

    def in_order(self) -> list[Entry]:
        """All measurements, as they are in the file."""
        places = {key: place for place, key in enumerate(self.order)}
        return sorted(self.measurements.values(), key=lambda entry: places.get(entry.key, -1))

    def _write(self) -> None:
        entries = [entry.as_dict() for entry in self.in_order()]
        content = {"format": self.version, "about": self.about, "measurements": entries, **self._more()}
        with atomic_write(self.path, "w") as stream:
            stream.write(json.dumps(content, indent=1) + "\n")

    def _parsed(self, content: dict[str, Any]) -> Any:
        """What a file keeps beside the measurements, parsed."""

    def _take(self, more: Any) -> None:
        """Makes that what is known."""

    def _more(self) -> dict[str, Any]:
        """The same for the file."""
        return {}
