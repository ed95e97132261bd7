"""``scores.json`` in a folder: the score of a test set, of any task that has a value for each utterance or file.

An object with these keys; those with a star may be left out::

    format *      1
    metric        name, unit, better ("lower" or "higher"); digits *, scale *, title *
    units_are *   "utterances", "files"
    units         unit → its value, or its part of the upper sum
    out_of *      unit → its part of the lower sum; without it the score is the mean of the units' values
    made_by *     the program that measured, where programs differ in what they find

``Metric`` and ``Score`` say what they mean.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.json_file import JsonObject, read_object
from kaldi_quant.metrics.known import known
from kaldi_quant.metrics.metric import Better, Metric
from kaldi_quant.metrics.score import Score

FILE_NAME = "scores.json"
FORMAT = 1

_KEYS = ("format", "metric", "units_are", "units", "out_of", "made_by")
_METRIC_KEYS = ("name", "unit", "better", "digits", "scale", "title")


def write_score(folder: Path, score: Score) -> Path:
    """Writes a folder's ``scores.json``, and returns its path.

    Raises:
        DataError: it cannot be written.
    """
    content: dict[str, Any] = {"format": FORMAT, "metric": asdict(score.metric), "units_are": score.units_are}
    content["units"] = dict(score.per_unit)
    if score.out_of is not None:
        content["out_of"] = dict(score.out_of)
    if score.made_by:
        content["made_by"] = score.made_by
    path = folder / FILE_NAME
    with atomic_write(path, "w") as stream:
        # In ASCII: names of units may hold bytes that are no UTF-8.
        stream.write(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def read_score(folder: Path) -> Score:
    """Reads a folder's ``scores.json``.

    Raises:
        DataError: there is no such file.
        FormatError: it is not JSON, or not what is described above; names the key or the unit.
    """
    path = folder / FILE_NAME
    try:
        found = read_object(path, exact=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: it holds a value for each utterance, see docs/compare.md") from None
    if "format" in found.content:
        found.expect_format(FORMAT)
    found.expect_keys(_KEYS)
    try:
        return Score(
            _metric(found.inner("metric")),
            _numbers(found.inner("units")),
            _numbers(found.inner("out_of")) if "out_of" in found.content else None,
            found.maybe(found.text, "units_are") or "utterances",
            found.maybe(found.text, "made_by") or "",
        )
    except DataError as error:
        raise FormatError(str(path), None, str(error)) from error


def _metric(found: JsonObject) -> Metric:
    found.expect_keys(_METRIC_KEYS)
    better: Any = found.text("better")
    if better not in get_args(Better):
        found.refuse("better", "lower or higher")
    optional: dict[str, Any] = {
        "digits": found.maybe(found.whole, "digits"),
        "scale": found.maybe(found.real, "scale"),
        "title": found.maybe(found.text, "title"),
    }
    given = {key: value for key, value in optional.items() if value is not None}
    metric = Metric(found.text("name"), found.text("unit"), better, **given)
    same_name = known(metric.name)
    if same_name is not None and same_name.better != better:
        found.refuse("better", f"{same_name.better}, as {same_name.name} has it")
    return metric


def _numbers(found: JsonObject) -> dict[str, float]:
    return {unit: found.real(unit) for unit in found.content}
