"""``sensitivity.json`` as ``kaldi-quant sensitivity`` writes it: what was measured of a network's layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaldi_quant.json_file import JsonObject, read_result

if TYPE_CHECKING:
    from kaldi_quant.quant.sensitivity import Measurement

FILE_NAME = "sensitivity.json"
FORMAT = 1


@dataclass(frozen=True)
class SensitivityResult:
    """What was measured of a network's layers.

    Attributes:
        name: what the page calls it.
        path: the file.
        measurements: all that there are; of an interrupted run some are missing.
        about: what they depend on, as written.
    """

    name: str
    path: Path
    measurements: tuple[Measurement, ...]
    about: dict[str, Any]


def read_sensitivity(argument: str) -> SensitivityResult:
    """Reads measurements of sensitivity.

    Args:
        argument: their folder, or the file.

    Raises:
        DataError: there is no such file.
        FormatError: it is truncated or something else; names the key.
    """
    found = read_result(argument, FILE_NAME, FORMAT, "sensitivity")
    measurements = tuple(_measurement(entry) for entry in found.objects("measurements"))
    return SensitivityResult(found.path.absolute().parent.name, found.path, measurements, found.dict_of("about"))


def _measurement(entry: JsonObject) -> Measurement:
    # Imported here: it needs torch, which pages about other files do without.
    from kaldi_quant.quant.sensitivity import MODES, Measurement

    mode = entry.text("mode")
    if mode not in MODES:
        entry.refuse("mode", f"one of {', '.join(MODES)}")
    return Measurement(mode, entry.text("layer"), entry.real("kl"), entry.maybe(entry.number, "wer"))
