"""Fresh models, made to look like ones that were trained."""

import math
import re
from collections.abc import Callable

import numpy as np

_PARAMETERS = {"LinearParams", "BiasParams", "Params", "Offsets", "Scales", "FilterParams", "w_h", "Output", "Bias"}
_BLOCK = re.compile(r"<(\w+)>(\s+)\[([^\]]*)\]")
_COUNTS = ("Count", "OderivCount", "StatsCount", "NumElementsProcessed", "NumDimsProcessed")
_EVENTS = (
    "NumElementsClipped",
    "NumElementsZeroed",
    "NumZeroingBoundaries",
    "NumSelfRepaired",
    "NumBackpropped",
    "NumDimsSelfRepaired",
)


def format_block(values: np.ndarray) -> str:
    """A vector or matrix in Kaldi's text form, with five digits."""
    if values.ndim == 1:
        return " [ " + "".join(f"{v:.5g} " for v in values) + "]"
    return " [" + "".join("\n  " + "".join(f"{v:.5g} " for v in row) for row in values) + "]"


def lifelike(text: str, rng: np.random.Generator) -> str:
    """The text form of a fresh model, with random numbers where nnet3-init leaves constants and nothing.

    Parameters that are all equal (the zero output layer, zero biases, unit scales) get random numbers; batch
    normalisation gets a count, means and variances; nonlinearities get their statistics. Everything is rounded to five
    digits, so that the text form and the binary form hold the same parameters; statistics, which Kaldi multiplies and
    divides by the count when it reads and writes, can differ in the last bit.
    """
    return "".join(_component(piece, rng) for piece in re.split(r"(?=<\w+Component> )", text))


def _component(piece: str, rng: np.random.Generator) -> str:
    opening = re.match(r"<(\w+)Component> ", piece)
    if not opening:
        return piece
    kind = opening.group(1)

    def number(token: str) -> int | None:
        found = re.search(rf"<{token}> (\S+)", piece)
        return int(found.group(1)) if found else None

    dim = number("BlockDim") or number("Dim") or number("CellDim")

    def replace(match: re.Match[str]) -> str:
        token, _, body = match.groups()
        if "," in body:  # pairs of whole numbers, the offsets of a convolution
            return match.group(0)
        rows = [[float(v) for v in row.split()] for row in body.strip().split("\n")]
        values = np.array(rows if body.startswith("\n") else rows[0])
        if token in _PARAMETERS and values.size:
            if values.size > 1 and np.ptp(values) == 0 and kind != "FixedScale":
                spread = 0.3 if values.ndim == 1 else 1 / math.sqrt(values.shape[1])
                values = values + spread * rng.standard_normal(values.shape)
            return f"<{token}> {format_block(values)}"
        statistics = _statistics(token, values, dim, number, rng)
        return match.group(0) if statistics is None else f"<{token}> {format_block(statistics)}"

    piece = _BLOCK.sub(replace, piece)
    for token in _COUNTS:
        piece = piece.replace(f"<{token}> 0 ", f"<{token}> 1000 ")
    for token in _EVENTS:
        piece = piece.replace(f"<{token}> 0 ", f"<{token}> 12 ")
    return piece


def _statistics(
    token: str, values: np.ndarray, dim: int | None, number: Callable[[str], int | None], rng: np.random.Generator
) -> np.ndarray | None:
    """Random statistics for a token that holds some."""
    match token:
        case "ValueAvg" | "DerivAvg" | "OderivRms":
            return rng.uniform(0.1, 0.9, values.shape if values.size else dim)
        case "SelfRepairProb":
            return rng.uniform(0.01, 0.1, values.shape)
        case "StatsMean":
            return 0.3 + 0.3 * rng.standard_normal(dim)
        case "StatsVar":
            return rng.uniform(0.2, 1.5, dim)
        case "EntropyStats":
            return rng.uniform(100, 900, number("NumHeads"))
        case "PosteriorStats":
            window = (number("NumLeftInputs") or 0) + 1 + (number("NumRightInputs") or 0)
            return rng.uniform(10, 90, (number("NumHeads"), window))
    return None
