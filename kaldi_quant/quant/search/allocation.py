"""One width for each layer: the exact optimum of an integer linear program.

Source: Z. Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021 (bit widths by integer linear
programming). The solver is HiGHS, in scipy.optimize.milp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from kaldi_quant.quant.search.options import FLOAT_BITS
from kaldi_quant.units import Bits

#: What an allocation has: bytes of layers, bits of their weights, divergence in nats, bit operations per frame.
Quantity = Literal["bytes", "weight_bits", "divergence", "bit_operations"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

# The solver stops at an absolute gap of 1e-6: with the objective on this scale that is no difference.
_OBJECTIVE_SCALE = 1e5
# It keeps to limits but for a millionth; where that shows, the limit is lowered, each time by more.
_MOST_SOLUTIONS = 24
_ROUNDING = 1e-9

#: Two allocations are two choices where the layers whose widths differ hold at least this share of the weights.
LEAST_CHANGE = 0.1


@dataclass(frozen=True)
class Option:
    """What can be chosen for one layer.

    Args:
        bits: of the weights, or FLOAT_BITS.
        act_bits: of the input, which layers that share its grids choose alike; of no account in float.
        bytes: of the layer.
        weight_bits: of all its weights together.
        divergence: nats, of the weights.
        bit_operations: per frame.
    """

    bits: Bits
    act_bits: Bits
    bytes: int
    weight_bits: int
    divergence: float
    bit_operations: float = 0.0


@dataclass(frozen=True)
class InputGroup:
    """Layers that read the same grids.

    Args:
        layers: their names.
        divergence: nats, for each width of these grids.
    """

    layers: tuple[str, ...]
    divergence: Mapping[Bits, float]


@dataclass(frozen=True)
class Problem:
    """Everything that can be chosen.

    Args:
        layers: for each the options.
        groups: every layer is in one.
    """

    layers: Mapping[str, Sequence[Option]]
    groups: Sequence[InputGroup]


@dataclass(frozen=True)
class Allocation:
    """A choice, and what it adds up to.

    Args:
        layers: for each the option.
        act_bits: for each group the width of its grids, in the problem's order.
        totals: for each quantity the sum.
    """

    layers: Mapping[str, Option]
    act_bits: tuple[Bits, ...]
    totals: Mapping[Quantity, float]


def allocate(
    problem: Problem, minimised: Quantity, limits: Mapping[Quantity, float], known: Sequence[Allocation] = ()
) -> Allocation | None:
    """The choice that has least of one quantity within limits of others; None where no choice keeps to them.

    Args:
        problem: what can be chosen.
        minimised: the quantity.
        limits: what quantities must not exceed.
        known: choices from each of which it differs in the layers of at least LEAST_CHANGE of the weights.
    """
    return _Program(problem, known).best(minimised, limits)


def pareto_front(problem: Problem, points: int, limits: Mapping[Quantity, float] | None = None) -> list[Allocation]:
    """Allocations of least divergence for sizes from the smallest that is possible to the largest that is of use.

    Args:
        problem: what can be chosen.
        points: how many sizes, evenly spaced.
        limits: of other quantities.

    Returns:
        By ascending size, each once; none where no choice keeps to the limits.
    """
    others, program = dict(limits or {}), _Program(problem)
    smallest = program.best("bytes", others)
    best = program.best("divergence", others)
    if smallest is None or best is None:
        return []
    front: dict[float, Allocation] = {}
    for size in np.linspace(smallest.totals["bytes"], best.totals["bytes"], points):
        found = program.best("divergence", {**others, "bytes": float(np.floor(size))})
        if found is not None and all(
            found.totals["divergence"] < known.totals["divergence"] for known in front.values()
        ):
            front[found.totals["bytes"]] = found
    return list(front.values())


class _Program:
    """A variable of 0 or 1 for each option of a layer, then one for each width of a group's grids."""

    def __init__(self, problem: Problem, known: Sequence[Allocation] = ()) -> None:
        self.problem = problem
        self.options = [(name, option) for name, options in problem.layers.items() for option in options]
        self.widths = [(number, bits) for number, group in enumerate(problem.groups) for bits in group.divergence]
        self.columns = len(self.options) + len(self.widths)
        #: The number of each layer; for each option that of its layer, for each width that of its group.
        self.numbers = {name: number for number, name in enumerate(problem.layers)}
        self.owners = np.array([self.numbers[name] for name, _ in self.options])
        self.owners_of_widths = np.array([number for number, _ in self.widths], int)
        self.coefficients = {name: self._coefficients(name) for name in QUANTITIES}
        self.structure = [*self._one_each(), *self._inputs_alike(), *map(self._unlike, known)]

    def _coefficients(self, quantity: Quantity) -> np.ndarray:
        row = np.zeros(self.columns)
        row[: len(self.options)] = [getattr(option, quantity) for _, option in self.options]
        if quantity == "divergence":
            row[len(self.options) :] = [self.problem.groups[number].divergence[bits] for number, bits in self.widths]
        return row

    def _one_each(self) -> list[LinearConstraint]:
        layers, groups = len(self.problem.layers), len(self.problem.groups)
        rows = np.zeros((layers + groups, self.columns))
        rows[:layers, : len(self.options)] = self.owners == np.arange(layers)[:, None]
        rows[layers:, len(self.options) :] = self.owners_of_widths == np.arange(groups)[:, None]
        return [LinearConstraint(rows, 1, 1)]

    def _inputs_alike(self) -> list[LinearConstraint]:
        """An option in integers asks for its width of the group's grids."""
        # Of options in float no width.
        asked = np.array([0 if option.bits == FLOAT_BITS else option.act_bits for _, option in self.options])
        rows = []
        for column, (number, bits) in enumerate(self.widths):
            for name in self.problem.groups[number].layers:
                row = np.zeros(self.columns)
                row[: len(self.options)] = (self.owners == self.numbers[name]) & (asked == bits)
                row[len(self.options) + column] = -1.0
                rows.append(row)
        return [LinearConstraint(np.array(rows), -np.inf, 0)] if rows else []

    def _unlike(self, known: Allocation) -> LinearConstraint:
        """Of all weights, at most the rest may lie in layers whose option is the same as before."""
        row = np.zeros(self.columns)
        for column, (owner, option) in enumerate(self.options):
            if option == known.layers[owner]:
                row[column] = option.weight_bits / option.bits
        return LinearConstraint(row[None] / row.sum(), -np.inf, 1 - LEAST_CHANGE)

    def best(self, minimised: Quantity, limits: Mapping[Quantity, float]) -> Allocation | None:
        """As ``allocate``."""
        lowered = dict(limits)
        for trial in range(_MOST_SOLUTIONS):
            found = self.solve(minimised, lowered)
            if found is None:
                return None
            beyond = {name: found.totals[name] - limit for name, limit in limits.items()}
            exceeded = {name: by for name, by in beyond.items() if by > _ROUNDING * self.scale(name, limits[name])}
            if not exceeded:
                return found
            lowered.update({name: lowered[name] - by * 2**trial for name, by in exceeded.items()})
        return None

    def scale(self, quantity: Quantity, limit: float) -> float:
        """The largest number in a limit's row."""
        return max(float(np.abs(self.coefficients[quantity]).max()), abs(limit)) or 1.0

    def solve(self, minimised: Quantity, limits: Mapping[Quantity, float]) -> Allocation | None:
        constraints = list(self.structure)
        for name, limit in limits.items():
            scale = self.scale(name, limit)
            constraints.append(LinearConstraint(self.coefficients[name][None] / scale, -np.inf, limit / scale))
        objective = self.coefficients[minimised]
        scale = _OBJECTIVE_SCALE / (float(np.abs(objective).max()) or 1.0)
        found = milp(
            objective * scale,
            integrality=np.ones(self.columns),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
        return None if found.x is None else self._allocation(np.round(found.x).astype(bool))

    def _allocation(self, chosen: np.ndarray) -> Allocation:
        layers = {name: option for (name, option), taken in zip(self.options, chosen, strict=False) if taken}
        widths = [bits for (_, bits), taken in zip(self.widths, chosen[len(self.options) :], strict=True) if taken]
        totals = {name: float(row[chosen].sum()) for name, row in self.coefficients.items()}
        return Allocation(layers, tuple(widths), totals)
