"""Scores by the kind of noise and the ratio of speech to noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.scores.measured import ScoredPair
from kaldi_quant.frontends.lists import read_table
from kaldi_quant.frontends.synthetic.files import write_table
from kaldi_quant.metrics.score import Score, shown_name

#: The table beside scores that says what each recording is.
TABLE = "conditions.tsv"
COLUMNS = ("name", "noise", "snr")
# Ratios that are drawn from a range are put together in steps of so many decibels.
_MOST_RATIOS, _STEP = 10, 5.0


@dataclass(frozen=True)
class Condition:
    """What a recording is.

    Args:
        noise: the kind; empty where it is not known.
        snr: of speech to noise, in dB; None where it is not known.
    """

    noise: str = ""
    snr: float | None = None


#: By the names of recordings.
Conditions = Mapping[str, Condition]


@dataclass(frozen=True)
class Mean:
    """Of a score.

    Args:
        value: the mean.
        number: of recordings.
    """

    value: float
    number: int


@dataclass(frozen=True)
class ConditionMeans:
    """A score by condition.

    Args:
        noises: the kinds, sorted.
        snrs: the ratios, ascending; those that are no list are rounded to steps of 5 dB.
        cells: (noise, ratio) → the mean, None in the place of either for all together; what has no recording is
            missing.
    """

    noises: tuple[str, ...]
    snrs: tuple[float, ...]
    cells: Mapping[tuple[str | None, float | None], Mean]


def conditions_of(pairs: Iterable[ScoredPair]) -> dict[str, Condition]:
    """What recordings are, by their names."""
    return {pair.name: Condition(pair.noise, pair.snr) for pair in pairs}


def by_condition(score: Score, conditions: Conditions) -> ConditionMeans:
    """A score's means by noise and ratio.

    Args:
        score: with a value for each recording.
        conditions: of all of them.

    Raises:
        DataError: a recording has no condition, or the score is a ratio of sums.

    Example:
        >>> score = Score(SI_SDR, {"a": 10.0, "b": 14.0})
        >>> found = by_condition(score, {"a": Condition("hum", 5.0), "b": Condition("hum", 10.0)})
        >>> found.cells["hum", None]
        Mean(value=12.0, number=2)
    """
    if score.out_of is not None:
        raise DataError(f"{score.metric.name}: a ratio of sums has no means by condition")
    lacking = [unit for unit in score.per_unit if unit not in conditions]
    if lacking:
        raise DataError(f"{shown_name(lacking[0])} ({len(lacking)} in all) has no condition, see {TABLE}")
    snrs = _rounded({unit: conditions[unit].snr for unit in score.per_unit})
    groups: dict[tuple[str | None, float | None], list[float]] = {}
    for unit, value in score.per_unit.items():
        noise, snr = conditions[unit].noise, snrs[unit]
        for place in {(noise, snr), (noise, None), (None, snr), (None, None)}:
            groups.setdefault(place, []).append(score.metric.scale * value)
    return ConditionMeans(
        tuple(sorted({noise for noise, _ in groups if noise is not None})),
        tuple(sorted({snr for _, snr in groups if snr is not None})),
        {place: Mean(math.fsum(values) / len(values), len(values)) for place, values in groups.items()},
    )


def _rounded(snrs: Mapping[str, float | None]) -> dict[str, float | None]:
    if len(set(snrs.values())) <= _MOST_RATIOS:
        return dict(snrs)
    return {unit: None if snr is None else _STEP * round(snr / _STEP) for unit, snr in snrs.items()}


def write_conditions(folder: Path, conditions: Conditions) -> Path:
    """Writes a folder's table, and returns its path.

    Raises:
        DataError: it cannot be written, or a name holds a tab or the end of a line.
    """
    for name, condition in conditions.items():
        if not (name.isprintable() and condition.noise.isprintable()):
            raise DataError(f"{shown_name(name)}: expected names that fit into a table")
    rows = [
        {"name": name, "noise": condition.noise, "snr": "" if condition.snr is None else f"{condition.snr:g}"}
        for name, condition in conditions.items()
    ]
    write_table(folder / TABLE, COLUMNS, rows)
    return folder / TABLE


def read_conditions(folder: Path) -> dict[str, Condition]:
    """Reads a folder's table.

    Raises:
        DataError: it is missing or broken; names the line.
    """
    found: dict[str, Condition] = {}
    for where, row in read_table(folder / TABLE, COLUMNS):
        if row["name"] in found:
            raise DataError(f"{where}: {shown_name(row['name'])} stands there twice")
        try:
            snr = float(row["snr"]) if row["snr"] else None
        except ValueError:
            snr = math.nan
        if snr is not None and not math.isfinite(snr):
            raise DataError(f"{where}: expected a ratio in dB, found {row['snr']!r}")
        found[row["name"]] = Condition(row["noise"], snr)
    return found
