"""``quantization.json`` of a decode folder: how the model that made its log-likelihoods was quantized.

The file may be absent, and so may any of its keys; what is there must make sense.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kaldi_quant.errors import FormatError

FILE_NAME = "quantization.json"
FORMAT = 1
# A relative path is looked for in the current directory and from the folder upwards, as scp files' paths are.
_FOLDERS_ABOVE = 4

Bits = float
Decibels = float
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class LayerRecord:
    """How one layer was quantized.

    Attributes:
        name: of its component.
        bits, act_bits: width of its weights and of its input.
        parameters: how many it has.
        sqnr: signal-to-quantization-noise ratio.
    """

    name: str
    bits: Bits | None = None
    act_bits: Bits | None = None
    parameters: int | None = None
    sqnr: Decibels | None = None


@dataclass(frozen=True)
class QuantizationRecord:
    """What ``quantization.json`` says; None or empty where it says nothing.

    Attributes:
        model: the model or artefact that made the log-likelihoods, as written.
        model_file: the same where it was found in the file system.
        preset, command, code_version, config: how it was made.
        bits_per_weight: mean over all weights.
        artefact_bytes: size of the artefact when it was made.
        float_bytes: size of the float parameters that inference needs.
        layers: the quantized layers, in the network's order.
        float_layers: layer → why it stayed in float.
    """

    model: str | None = None
    model_file: Path | None = None
    preset: str | None = None
    command: tuple[str, ...] = ()
    code_version: str | None = None
    config: dict[str, Any] | None = None
    bits_per_weight: Bits | None = None
    artefact_bytes: int | None = None
    float_bytes: int | None = None
    layers: tuple[LayerRecord, ...] = ()
    float_layers: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int | None:
        """Bytes of the model in the file system; what was noted when it was made if it is gone."""
        return self.model_file.stat().st_size if self.model_file else self.artefact_bytes


def read_record(folder: Path) -> QuantizationRecord | None:
    """The record of a decode folder; None where there is none.

    Raises:
        FormatError: the file is not JSON, of another format, or a value is of the wrong kind; names the key.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text("utf-8"), parse_float=_finite, parse_constant=_finite)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FormatError(str(path), None, f"cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(str(path), None, f"expected an object, found {_shown(content)}")
    if content.get("format", FORMAT) != FORMAT:
        raise FormatError(str(path), None, f"expected format {FORMAT}, found {_shown(content['format'])}")
    return _record(_Fields(content, path, ""), folder)


def _record(fields: _Fields, folder: Path) -> QuantizationRecord:
    model = fields.text("model")
    layers = fields.of_kind("layers", list, "a list") or []
    reasons = fields.of_kind("float_layers", dict, "an object of layers and reasons") or {}
    return QuantizationRecord(
        model=model,
        model_file=_find(model, folder) if model else None,
        preset=fields.text("preset"),
        command=tuple(map(str, fields.of_kind("command", list, "a list of words") or [])),
        code_version=fields.text("code_version"),
        config=fields.of_kind("config", dict, "an object"),
        bits_per_weight=fields.number("bits_per_weight"),
        artefact_bytes=fields.whole("artefact_bytes"),
        float_bytes=fields.whole("float_bytes"),
        layers=tuple(_layer(entry, fields.path, number) for number, entry in enumerate(layers)),
        float_layers=tuple((name, str(reason)) for name, reason in reasons.items()),
    )


def _layer(entry: object, path: Path, number: int) -> LayerRecord:
    where = f"layers[{number}]"
    if not isinstance(entry, dict):
        raise FormatError(str(path), None, f"{where}: expected an object, found {_shown(entry)}")
    fields = _Fields(entry, path, f"{where}.")
    name = fields.text("name")
    if not name:
        raise FormatError(str(path), None, f"{where}: expected a layer with a name")
    return LayerRecord(
        name, fields.number("bits"), fields.number("act_bits"), fields.whole("parameters"), fields.decibels("sqnr_db")
    )


@dataclass(frozen=True)
class _Fields:
    """The values of an object, which may be absent or null, and else must be of their kind."""

    content: dict[str, Any]
    path: Path
    prefix: str

    def of_kind(self, key: str, kind: type[_Value], expected: str) -> _Value | None:
        value = self.content.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            self._refuse(key, expected)
        return value

    def text(self, key: str) -> str | None:
        return self.of_kind(key, str, "a text")

    def whole(self, key: str) -> int | None:
        value = self.of_kind(key, int, "a whole number")
        if value is not None and value < 0:
            self._refuse(key, "a whole number of 0 or more")
        return value

    def decibels(self, key: str) -> Decibels | None:
        value = self.content.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            self._refuse(key, "a number")
        return float(value) if value is not None else None

    def number(self, key: str) -> float | None:
        value = self.decibels(key)
        if value is not None and value < 0:
            self._refuse(key, "a number of 0 or more")
        return value

    def _refuse(self, key: str, expected: str) -> None:
        raise FormatError(
            str(self.path), None, f"{self.prefix}{key}: expected {expected}, found {_shown(self.content[key])}"
        )


def _finite(number: str) -> float | None:
    """A layer without any noise has an infinite ratio: no point of a plot, and no number of JSON."""
    value = float(number)
    return value if math.isfinite(value) else None


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _find(model: str, folder: Path) -> Path | None:
    """The model in the file system: from the current directory, or from the folder or one of those above it."""
    above = folder.absolute()
    for base in (Path(), above, *list(above.parents)[:_FOLDERS_ABOVE]):
        if (base / model).is_file():
            return base / model
    return None
