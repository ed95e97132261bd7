"""The best widths under a budget, and what the network quantized so is really like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import quantize
from kaldi_quant.quant.search.allocation import Allocation, Quantity, allocate
from kaldi_quant.quant.search.budget import Budget
from kaldi_quant.quant.search.candidates import Candidates
from kaldi_quant.quant.search.measurements import Measurement, Meter, Nats, Store
from kaldi_quant.quant.search.measuring import Measuring
from kaldi_quant.quant.search.options import SearchOptions, listed
from kaldi_quant.quant.search.prices import FileSize, Prices
from kaldi_quant.quant.search.sizes import Bytes
from kaldi_quant.quant.search.widths import FLOAT_BITS, Widths, with_widths


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


@dataclass(frozen=True)
class Outcome:
    """A proposal, and what the network is like that was quantized so.

    Args:
        proposal: with the predictions.
        network: the result.
        bytes: of its file.
        divergence: nats per frame, on the data that candidates were measured on.
    """

    proposal: Proposal
    network: QuantizedNetwork
    bytes: Bytes
    divergence: Nats


class Search:
    """A search.

    Args:
        nnet: as read from its file.
        config: all but the widths, for the result; candidates are not fitted sequentially.
        calibration: the calibration set.
        data: development data; never test data.
        store: keeps what was measured.
        options: what is searched.
        file_size: of networks that are not made yet, whose integers mean nothing.

    Raises:
        UsageError: there is nothing to choose.
        DataError: the calibration set cannot be used.
    """

    def __init__(
        self,
        nnet: Nnet,
        config: PtqConfig,
        calibration: CalibrationSet,
        data: CalibrationSet,
        store: Store,
        options: SearchOptions,
        file_size: FileSize,
    ) -> None:
        self.nnet, self.config, self.options, self.file_size = nnet, config, options, file_size
        self.candidates = Candidates(nnet, options.measuring(config), calibration, options.base)
        self.meter = Meter(self.candidates.base.nnet, data)
        self.measuring = Measuring(self.candidates, self.meter, store, options)

    def measure(self) -> Iterator[Measurement]:
        """Measures what the store does not know yet; to be consumed to the end, before anything is proposed."""
        return self.measuring.run()

    @cached_property
    def prices(self) -> Prices:
        """What every choice takes."""
        return Prices(self.measuring, self.config, self.file_size)

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
        minimised: Quantity = "bytes" if budget.kind == "nats" else "divergence"
        quantity, limit = self._limit(budget)
        limit -= less
        while True:
            found = allocate(self.prices.problem, minimised, {**self.limits, quantity: limit})
            closest = found or allocate(self.prices.problem, quantity, self.limits)
            if closest is None:
                raise UsageError(self._too_much_work())
            proposal = self.proposal(closest, budget.text)
            beyond = proposal.bytes - (budget.amount - less) if budget.kind == "bytes" else 0
            if beyond <= 0 and (found is not None or budget.kind == "bytes"):
                return proposal
            if found is None:
                raise UsageError(self._not_met(budget, proposal))
            # The rest of the file has a few digits more than with the base.
            limit -= beyond

    def _limit(self, budget: Budget) -> tuple[Quantity, float]:
        if budget.kind == "bytes":
            return "bytes", budget.amount - self.prices.rest
        if budget.kind == "nats":
            return "divergence", budget.amount - self.measuring.base_measurement.divergence
        chosen, in_float = self.prices.weights
        return "weight_bits", budget.amount * (chosen + in_float) - FLOAT_BITS * in_float

    def _not_met(self, budget: Budget, closest: Proposal) -> str:
        reached = {
            "bytes": f"takes {closest.bytes} bytes",
            "bits": f"has {closest.bits:.4g} bits per weight",
            "nats": f"is predicted to diverge by {closest.divergence:.4g} nats",
        }
        most = self.options.max_bit_operations
        work = f" with at most {most / 1e6:g} million bit operations per frame" if most is not None else ""
        return (
            f"no allocation of {listed(self.options.widths)}{work} meets the budget of {budget.text}: the closest "
            f"{reached[budget.kind]}"
        )

    def _too_much_work(self) -> str:
        least, most = allocate(self.prices.problem, "bit_operations", {}), self.options.max_bit_operations
        assert least is not None and most is not None
        return (
            f"no allocation of {listed(self.options.widths)} keeps to {most / 1e6:g} million bit operations per frame: "
            f"the closest has {least.totals['bit_operations'] / 1e6:.4g} million"
        )

    def proposal(self, allocation: Allocation, budget: str) -> Proposal:
        """What an allocation is predicted to cost; ``budget`` is told in its description."""
        widths = {name: Widths(option.bits, option.act_bits) for name, option in allocation.layers.items()}
        bits, divergence = self.prices.bits_per_weight(allocation), self.prices.divergence(allocation)
        size = self.prices.rest + int(allocation.totals["bytes"])
        # The second time with the right size in the description, which is part of the file.
        for _ in range(2):
            description = (
                f"{bits:.2f} bits per weight, found by search under {budget}: {size} bytes and a divergence of "
                f"{divergence:.5f} nats predicted."
            )
            config = with_widths(self.config, self.candidates.kinds, widths, description)
            size = self.prices.size(widths, config)
        return Proposal(allocation, config, size, divergence, bits)

    def run(self, budget: Budget, write: FileSize) -> Outcome:
        """Proposes, quantizes the network so, and measures it.

        Args:
            budget: if of bytes, it holds for the file that is written, too.
            write: writes the result, and tells its size.

        Raises:
            UsageError: no allocation meets the budget.
        """
        less = 0
        while True:
            proposal = self.propose(budget, less)
            network = quantize(self.nnet, proposal.config, self.candidates.calibration)
            size = write(network, proposal.config)
            if budget.kind != "bytes" or size <= budget.amount:
                return Outcome(proposal, network, size, self.meter.divergence(network))
            less += size - int(budget.amount)
