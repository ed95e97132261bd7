"""Activation ranges as a file: what calibration found, for a person to read or change and for quantization to use."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec

_FORMAT = 1

#: For each node the least and the greatest value of its grid: () or (dim,) float64.
Ranges = dict[str, tuple[Tensor, Tensor]]


def ranges_of(grids: dict[str, Grid]) -> Ranges:
    """What grids cover."""
    covered = {}
    for name, grid in grids.items():
        scale = grid.scale.double()
        low, high = ((end - grid.zero_point) * scale for end in (grid.spec.qmin, grid.spec.qmax))
        covered[name] = (low, high)
    return covered


def grid_over(name: str, ranges: Ranges, spec: QSpec, dim: int) -> Grid:
    """The grid of a node over its range.

    Raises:
        DataError: there is no range for the node, or it does not fit.
    """
    if name not in ranges:
        raise DataError(
            f"the activation ranges have no entry for the node {name}: they were made with another model or options"
        )
    low, high = ranges[name]
    columns = {low.numel(), high.numel()} - {dim if spec.per_channel else 1}
    if columns:
        raise DataError(f"the range of the node {name} has {columns.pop()} columns where it needs {dim}")
    return Grid.from_range(spec, low, high)


def write_ranges(path: str | Path, ranges: Ranges, about: dict[str, Any]) -> None:
    """Writes ranges as JSON; ``about`` says how they came about."""
    nodes = {name: {"low": low.tolist(), "high": high.tolist()} for name, (low, high) in ranges.items()}
    text = json.dumps({"format": _FORMAT, **about, "nodes": nodes}, indent=1)
    with atomic_write(path) as stream:
        stream.write(f"{text}\n".encode())


def read_ranges(path: str | Path) -> Ranges:
    """Reads ranges.

    Raises:
        DataError: the file is missing or malformed.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']}")
        nodes = content["nodes"]
        return {name: (_bound(entry["low"]), _bound(entry["high"])) for name, entry in nodes.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not a file of activation ranges as written by calibrate ({error})") from error


def _bound(value: Any) -> Tensor:
    bound = torch.tensor(value, dtype=torch.float64)
    if bound.dim() > 1 or not all(math.isfinite(x) for x in bound.flatten().tolist()):
        raise ValueError(f"expected one finite number or one for each column, found {str(value)[:40]}")
    return bound
