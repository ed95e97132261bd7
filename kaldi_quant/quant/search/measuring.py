"""What candidates cost: by running the network with them, or by curvature."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.progress import progress
from kaldi_quant.quant.branches import Branches
from kaldi_quant.quant.distance import mean_distance
from kaldi_quant.quant.host import Data, Host
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search.candidates import Candidates
from kaldi_quant.quant.search.measurements import Choice, Measurement, Store
from kaldi_quant.quant.search.options import FLOAT_BITS, SearchOptions
from kaldi_quant.quant.search.second_order import SecondOrder
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.units import Bits, Bytes, Nats

_log = logging.getLogger(__name__)

# Curvature is averaged over so many utterances.
_UTTERANCES_OF_CURVATURE = 40


class Meter:
    """Measures networks on data.

    Args:
        host: the float network.
        data: development data.
        trunk: a network that many of them differ from in few layers, so that what comes before is computed once.
        memory: what waiting values may take; the others wait on disk.
    """

    def __init__(self, host: Host, data: Data, trunk: QuantizedNetwork | None = None, memory: Bytes = MEMORY) -> None:
        self.host, self.data, self.memory = host, data, memory
        self._trunk = trunk

    def divergence(self, network: QuantizedNetwork) -> Nats:
        """The mean distance of outputs from the float network's, of acoustic models in nats per frame.

        Those that differ from the trunk are best measured by ascending ``place``.

        Raises:
            DataError: too many units cannot be used.
        """
        expected = self._reference
        is_branch = self._trunk is not None and network.host is self._trunk.host
        branches = self._branches if is_branch else Branches(network, self.data)
        return mean_distance(self.host.distance, expected, branches.outputs(network, BadUtterances(1.0)))

    def place(self, network: QuantizedNetwork) -> int:
        """Where a network begins to differ from the trunk."""
        return self._branches.place(network)

    def close(self) -> None:
        """Forgets what the trunk has computed; it may be measured from again."""
        if "_branches" in self.__dict__:
            self._branches.close()
            del self._branches

    @cached_property
    def _branches(self) -> Branches:
        assert self._trunk is not None
        return Branches(self._trunk, self.data, self.memory)

    @cached_property
    def _reference(self) -> dict[str, np.ndarray]:
        bad = BadUtterances(self.data.max_bad_share)
        rows = dict(self.data.outputs(self.host.executable().to(self.data.device), bad))
        bad.check()
        # Said once is enough: further runs do without the bad ones.
        self.data.keep(rows)
        return rows


class Measuring:
    """The costs of all candidates.

    Args:
        candidates: the networks.
        meter: measures them; its trunk is the base.
        store: keeps what was measured.
        options: which candidates, and how.
    """

    def __init__(self, candidates: Candidates, meter: Meter, store: Store, options: SearchOptions) -> None:
        self.candidates, self.meter, self.store, self.options = candidates, meter, store, options
        self.base = candidates.base

    def choices(self) -> list[Choice]:
        """What must be measured."""
        base, how = self.options.base, self.options.estimate
        found = [Choice("base", "", base.bits, "measured")]
        for bits in self.options.widths:
            found += [Choice("weights", layer, bits, how) for layer in self.base.layers if bits != base.bits]
        for bits in self.options.act_widths:
            groups = self.candidates.input_groups
            found += [Choice("inputs", group[0], bits, how) for group in groups if bits != base.act_bits]
        return found

    def run(self) -> Iterator[Measurement]:
        """Measures what the store does not know yet; to be consumed to the end. What it knows comes first."""
        self.store.order = choices = self.choices()
        missing = [choice for choice in choices if self.store.find(choice) is None]
        if len(missing) < len(choices):
            _log.info(
                "%d of %d candidates were measured before and are kept", len(choices) - len(missing), len(choices)
            )
        yield from [known for choice in choices if (known := self.store.find(choice)) is not None]
        try:
            with progress(len(missing), "search", "candidates", brief=not missing) as advance:
                for choice in self._in_order(missing):
                    advance(0, told(choice))
                    found = self._measured(choice)
                    self.store.add(found)
                    advance(1)
                    yield found
        finally:
            self._forget()

    def _forget(self) -> None:
        """Makes room: what only candidates need is large."""
        self.meter.close()
        self.candidates.forget()
        for name in ("_second_order", "_of_base_weights", "_of_inputs"):
            self.__dict__.pop(name, None)

    @property
    def base_measurement(self) -> Measurement:
        """Of all layers in the base's widths."""
        return self._known(Choice("base", "", self.options.base.bits, "measured"))

    def of_weights(self, layer: str, bits: Bits) -> Measurement:
        """Of a layer's weights in another width than the base's."""
        return self._known(Choice("weights", layer, bits, self.options.estimate))

    def of_inputs(self, group: Sequence[str], act_bits: Bits) -> Measurement:
        """Of what some layers read, in another width than the base's."""
        return self._known(Choice("inputs", group[0], act_bits, self.options.estimate))

    def _known(self, choice: Choice) -> Measurement:
        found = self.store.find(choice)
        assert found is not None, f"{choice} was not measured"
        return found

    def _in_order(self, choices: Sequence[Choice]) -> list[Choice]:
        """The order in which they share most: by where they differ from the base, then layer after layer."""
        numbers = {name: number for number, name in enumerate(self.base.layers)}

        def key(choice: Choice) -> tuple[int, int, str, int]:
            if choice.kind == "base":
                return -1, -1, "", 0
            place = self.meter.place(self._outline(choice)) if choice.estimate == "measured" else 0
            return place, numbers[choice.layer], choice.kind, choice.bits

        return sorted(choices, key=key)

    def _outline(self, choice: Choice) -> QuantizedNetwork:
        """A network that differs from the base where a candidate does."""
        kind, layer, bits, _ = choice
        if kind == "inputs":
            return self.candidates.on_grids(self._group(layer), bits)
        if bits == FLOAT_BITS:
            return self.candidates.with_weights(layer, bits)
        return replace(self.base, layers={**self.base.layers, layer: replace(self.base.layers[layer])})

    def _group(self, layer: str) -> tuple[str, ...]:
        return next(group for group in self.candidates.input_groups if group[0] == layer)

    def _measured(self, choice: Choice) -> Measurement:
        kind, layer, bits, how = choice
        if kind == "base":
            return Measurement(choice, self.meter.divergence(self.base))
        if how == "second-order":
            return Measurement(choice, self._estimated(choice))
        if kind == "weights":
            network = self.candidates.with_weights(layer, bits)
        else:
            network = self.candidates.with_inputs(self._group(layer), bits)
        return Measurement(choice, self.meter.divergence(network) - self.base_measurement.divergence)

    def _estimated(self, choice: Choice) -> Nats:
        kind, layer, bits, _ = choice
        if kind == "inputs":
            return sum(
                self._of_inputs[name, bits] - self._of_inputs[name, self._act_bits] for name in self._group(layer)
            )
        network = self.candidates.with_weights(layer, bits)
        now = self._second_order.of_weights(network, layer) if layer in network.layers else 0
        return now - self._of_base_weights[layer]

    @property
    def _act_bits(self) -> Bits:
        """Of the base."""
        return self.options.base.act_bits

    @cached_property
    def _of_base_weights(self) -> dict[str, Nats]:
        return {name: self._second_order.of_weights(self.base, name) for name in self.base.layers}

    @cached_property
    def _of_inputs(self) -> dict[tuple[str, Bits], Nats]:
        """What the grids cost that a layer reads, in each width."""
        others = [bits for bits in self.options.act_widths if bits != self._act_bits]
        networks: dict[str, list[QuantizedNetwork]] = {}
        for group in self.candidates.input_groups:
            of_group = [self.base, *(self.candidates.on_grids(group, bits) for bits in others)]
            networks.update(dict.fromkeys(group, of_group))
        widths = [self._act_bits, *others]
        return {
            (name, bits): cost
            for name, costs in self._second_order.of_inputs(networks).items()
            for bits, cost in zip(widths, costs, strict=True)
        }

    @cached_property
    def _second_order(self) -> SecondOrder:
        data = self.meter.data.some(_UTTERANCES_OF_CURVATURE)
        return SecondOrder(self.base.host, self.base.layers, data, memory=self.meter.memory)


def told(choice: Choice) -> str:
    """A candidate in words.

    Example:
        >>> told(Choice("weights", "tdnn1.affine", 4, "measured"))
        'tdnn1.affine with weights in 4 bits'
    """
    if choice.kind == "base":
        return f"all layers in {choice.bits} bits"
    width = "float" if choice.bits == FLOAT_BITS else f"{choice.bits} bits"
    return f"{choice.layer} with {choice.kind} in {width}"
