"""The best widths under a budget, as far as costs of single layers predict it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.search.allocation import Allocation, Quantity, allocate, pareto_front
from kaldi_quant.quant.search.candidates import Candidates
from kaldi_quant.quant.search.cost_model import CostModel, FileSize
from kaldi_quant.quant.search.measurements import Measurement, Store
from kaldi_quant.quant.search.measuring import Measuring, Meter
from kaldi_quant.quant.search.options import FLOAT_BITS, Budget, SearchOptions, Widths, listed, with_widths
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.units import Bytes, Nats

#: Points of the predicted front that results tell, and among which a budget of word errors looks for the smallest.
FRONT_POINTS = 24


@dataclass(frozen=True)
class Proposal:
    """An allocation, and what it is predicted to cost.

    Args:
        allocation: the widths.
        config: the same as a configuration.
        bytes: of the file.
        divergence: nats per frame.
        bits: of a mean weight, layers in float included.
    """

    allocation: Allocation
    config: PtqConfig
    bytes: Bytes
    divergence: Nats
    bits: float


class Search:
    """A search.

    Args:
        source: the float network.
        config: all but the widths, for the result; candidates are not fitted sequentially.
        calibration: the calibration set.
        data: development data; never test data.
        store: keeps what was measured.
        options: what is searched.
        file_size: of networks that are not made yet, whose integers mean nothing.
        memory: what values may take that wait for layers; the others wait on disk.

    Raises:
        UsageError: there is nothing to choose.
        DataError: the calibration set cannot be used.
    """

    def __init__(
        self,
        source: Source,
        config: PtqConfig,
        calibration: Data,
        data: Data,
        store: Store,
        options: SearchOptions,
        file_size: FileSize,
        memory: Bytes = MEMORY,
    ) -> None:
        self.source, self.config, self.options, self.file_size = source, config, options, file_size
        self.memory = memory
        self.candidates = Candidates(source, options.measuring(config), calibration, options.base)
        self.meter = Meter(self.candidates.base.host, data, self.candidates.base, memory)
        self.measuring = Measuring(self.candidates, self.meter, store, options)

    def measure(self) -> Iterator[Measurement]:
        """As ``Measuring.run``; to be consumed to the end, before anything is proposed."""
        return self.measuring.run()

    @cached_property
    def cost_model(self) -> CostModel:
        """What every choice takes."""
        return CostModel(self.measuring, self.config, self.file_size)

    @property
    def limits(self) -> dict[Quantity, float]:
        """What holds beside the budget."""
        most = self.options.max_bit_operations
        return {} if most is None else {"bit_operations": most}

    def propose(self, budget: Budget, less: Bytes = 0) -> Proposal:
        """The best allocation under a budget.

        Args:
            budget: see there.
            less: by how much the file must be smaller than the budget says.

        Raises:
            UsageError: no allocation meets it.
        """
        limit = self._limit(budget)[1] - less
        while True:
            found = self._allocated(budget, limit)
            closest = found or allocate(self.cost_model.problem, self._limit(budget)[0], self.limits)
            if closest is None:
                raise UsageError(self.too_much_work())
            proposal = self.proposal(closest, budget.text)
            beyond = _beyond(proposal, budget, less)
            if beyond <= 0 and (found is not None or budget.kind == "bytes"):
                return proposal
            if found is None:
                raise UsageError(self.not_met(budget, self._reached(budget, proposal)))
            # The rest of the file has a few digits more than with the base.
            limit -= beyond

    def proposals(self, budget: Budget, number: int, less: Bytes = 0) -> list[Proposal]:
        """The best allocations under a budget that differ from each other in the widths of a share of the weights.

        Args:
            budget: see there.
            number: at most so many.
            less: as in ``propose``.

        Returns:
            The best first.

        Raises:
            UsageError: no allocation meets the budget.
        """
        found = [self.propose(budget, less)]
        while len(found) < number and (another := self._another(budget, less, found)):
            found.append(another)
        return found

    def _another(self, budget: Budget, less: Bytes, known: Sequence[Proposal]) -> Proposal | None:
        limit = self._limit(budget)[1] - less
        while allocation := self._allocated(budget, limit, [proposal.allocation for proposal in known]):
            proposal = self.proposal(allocation, budget.text)
            beyond = _beyond(proposal, budget, less)
            if beyond <= 0:
                return proposal
            limit -= beyond
        return None

    def front(self, points: int, budget: str) -> list[Proposal]:
        """The predicted front, by ascending size, at sizes evenly spaced; ``budget`` as in ``proposal``."""
        front = pareto_front(self.cost_model.problem, points, self.limits)
        return [self.proposal(allocation, budget) for allocation in front]

    def _allocated(self, budget: Budget, limit: float, known: Sequence[Allocation] = ()) -> Allocation | None:
        minimised: Quantity = "bytes" if budget.kind == "nats" else "divergence"
        return allocate(self.cost_model.problem, minimised, {**self.limits, self._limit(budget)[0]: limit}, known)

    def _limit(self, budget: Budget) -> tuple[Quantity, float]:
        if budget.kind == "bytes":
            return "bytes", budget.amount - self.cost_model.rest
        if budget.kind == "nats":
            return "divergence", budget.amount - self.measuring.base_measurement.divergence
        chosen, in_float = self.cost_model.weights
        return "weight_bits", budget.amount * (chosen + in_float) - FLOAT_BITS * in_float

    def _reached(self, budget: Budget, closest: Proposal) -> str:
        reached = {
            "bytes": f"takes {closest.bytes} bytes",
            "bits": f"has {closest.bits:.4g} bits per weight",
            "nats": f"is predicted to diverge by {closest.divergence:.4g} {self.meter.host.distance.unit}",
        }
        return reached[budget.kind]

    def not_met(self, budget: Budget, reached: str) -> str:
        """Says that no allocation meets a budget, and what the closest ``reached``."""
        most = self.options.max_bit_operations
        work = f" with at most {most / 1e6:g} million bit operations per frame" if most is not None else ""
        choices = f"{listed(self.options.widths)}{work}"
        return f"no allocation of {choices} meets the budget of {budget.text}: the closest {reached}"

    def too_much_work(self) -> str:
        """Says that no allocation keeps to the limit of bit operations."""
        least, most = allocate(self.cost_model.problem, "bit_operations", {}), self.options.max_bit_operations
        assert least is not None and most is not None
        return (
            f"no allocation of {listed(self.options.widths)} keeps to {most / 1e6:g} million bit operations per frame: "
            f"the closest has {least.totals['bit_operations'] / 1e6:.4g} million"
        )

    def proposal(self, allocation: Allocation, budget: str) -> Proposal:
        """What an allocation is predicted to cost; ``budget`` is told in its description."""
        widths = {name: Widths(option.bits, option.act_bits) for name, option in allocation.layers.items()}
        bits = self.cost_model.bits_per_weight(allocation.totals["weight_bits"])
        divergence = self.cost_model.divergence(allocation)
        size = self.cost_model.rest + int(allocation.totals["bytes"])
        # The second time with the right size in the description, which is part of the file.
        for _ in range(2):
            description = (
                f"{bits:.2f} bits per weight, found by search under {budget}: {size} bytes and a divergence of "
                f"{divergence:.5f} {self.meter.host.distance.unit} predicted."
            )
            config = with_widths(self.config, self.candidates.kinds, widths, description)
            size = self.cost_model.size(widths, config)
        return Proposal(allocation, config, size, divergence, bits)


def _beyond(proposal: Proposal, budget: Budget, less: Bytes) -> float:
    """By how much a file is larger than a budget of bytes allows."""
    return proposal.bytes - (budget.amount - less) if budget.kind == "bytes" else 0
