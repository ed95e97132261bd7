"""What each layer's width costs: measured on development data.

Source of the idea, one layer changed at a time and the changes' costs added: Y. Cai et al., "ZeroQ: A Novel Zero Shot
Quantization Framework", CVPR 2020 (sensitivity by Kullback-Leibler divergence).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.quant.distance import mean_distance
from kaldi_quant.quant.host import Data, Host
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.units import Bits, Nats

Estimate = Literal["measured", "second-order"]


class Choice(NamedTuple):
    """What is measured while everything else is as in the base.

    Args:
        kind: base, nothing else; weights, of one layer; inputs, of the layers that share their grids.
        layer: the layer, or the first of those that share; empty for the base.
        bits: the width in question.
        estimate: how its cost is found.
    """

    kind: Literal["base", "weights", "inputs"]
    layer: str
    bits: Bits
    estimate: Estimate


@dataclass(frozen=True)
class Measurement:
    """What a choice costs.

    Args:
        choice: see there.
        divergence: mean distance of the output from the float network's, of acoustic models in nats per frame; of
            weights and inputs less that of the base.
    """

    choice: Choice
    divergence: Nats

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.choice._asdict(), "divergence": self.divergence}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Measurement:
        """What ``as_dict`` made."""
        choice = Choice(*(content[name] for name in Choice._fields))
        return cls(choice, float(content["divergence"]))


class Meter:
    """Measures networks on data.

    Args:
        host: the float network.
        data: development data.
    """

    def __init__(self, host: Host, data: Data) -> None:
        self.host, self.data = host, data

    def divergence(self, network: QuantizedNetwork) -> Nats:
        """The mean distance of outputs from the float network's, of acoustic models in nats per frame.

        Raises:
            DataError: too many units cannot be used.
        """
        expected = self._reference
        return mean_distance(self.host.distance, expected, dict(self.data.outputs(network.model(), BadUtterances(1.0))))

    @cached_property
    def _reference(self) -> dict[str, np.ndarray]:
        bad = BadUtterances(self.data.max_bad_share)
        rows = dict(self.data.outputs(self.host.executable(), bad))
        bad.check()
        # Said once is enough: further runs do without the bad ones.
        self.data.keep(rows)
        return rows
