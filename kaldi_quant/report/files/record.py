"""``quantization.json`` of a decode folder: how the model that made its log-likelihoods was quantized.

The file may be absent, and so may any of its keys; what is there must make sense.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaldi_quant.errors import FormatError
from kaldi_quant.formats.names import RECORD_NAME
from kaldi_quant.json_file import JsonObject, read_object

FORMAT = 1
# A relative path is looked for in the current directory and from the folder upwards, as scp files' paths are.
_FOLDERS_ABOVE = 4
#: Bits per weight of a float model.
FLOAT_BITS = 32.0

Bits = float
Decibels = float


@dataclass(frozen=True)
class LayerRecord:
    """How one layer was quantized.

    Attributes:
        name: of its component.
        bits, act_bits: width of its weights and of its input; 0 where the input stays in float.
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
    def is_float(self) -> bool:
        """Whether it is the record of a float model."""
        return not self.layers and self.bits_per_weight == FLOAT_BITS

    @property
    def size(self) -> int | None:
        """Bytes of the model in the file system; what was noted when it was made if it is gone."""
        return self.model_file.stat().st_size if self.model_file else self.artefact_bytes


def read_record(folder: Path) -> QuantizationRecord | None:
    """The record of a decode folder; None where there is none.

    Raises:
        FormatError: the file is not JSON, of another format, or a value is of the wrong kind; names the key.
    """
    try:
        found = read_object(folder / RECORD_NAME)
    except FileNotFoundError:
        return None
    if "format" in found.content:
        found.expect_format(FORMAT)
    return _record(found, folder)


def _record(found: JsonObject, folder: Path) -> QuantizationRecord:
    model = found.maybe(found.text, "model")
    return QuantizationRecord(
        model=model,
        model_file=_find(model, folder) if model else None,
        preset=found.maybe(found.text, "preset"),
        command=tuple(map(str, found.maybe(lambda key: found.of_kind(key, list, "a list of words"), "command") or [])),
        code_version=found.maybe(found.text, "code_version"),
        config=found.maybe(found.dict_of, "config"),
        bits_per_weight=found.maybe(found.number, "bits_per_weight"),
        artefact_bytes=found.maybe(found.whole, "artefact_bytes"),
        float_bytes=found.maybe(found.whole, "float_bytes"),
        layers=tuple(map(_layer, found.maybe(found.objects, "layers") or [])),
        float_layers=float_layers(found),
    )


def _layer(entry: JsonObject) -> LayerRecord:
    name = entry.maybe(entry.text, "name")
    if not name:
        raise FormatError(str(entry.path), None, f"{entry.prefix[:-1]}: expected a layer with a name")
    return LayerRecord(
        name,
        bits=entry.maybe(entry.number, "bits"),
        act_bits=entry.maybe(entry.number, "act_bits"),
        parameters=entry.maybe(entry.whole, "parameters"),
        sqnr=entry.maybe(entry.real, "sqnr_db"),
    )


def float_layers(found: JsonObject) -> tuple[tuple[str, str], ...]:
    """The layers that a file says were left in float, with the reasons; none where it does not say."""
    reasons = found.maybe(lambda key: found.dict_of(key, "an object of layers and reasons"), "float_layers") or {}
    return tuple((name, str(reason)) for name, reason in reasons.items())


def _find(model: str, folder: Path) -> Path | None:
    """The model in the file system: from the current directory, or from the folder or one of those above it."""
    above = folder.absolute()
    for base in (Path(), above, *list(above.parents)[:_FOLDERS_ABOVE]):
        if (base / model).is_file():
            return base / model
    return None
