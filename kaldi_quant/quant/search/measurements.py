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
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.inference import Inference
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.divergence import mean_divergence
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import Bits

Nats = float
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
        divergence: mean Kullback-Leibler divergence from the float network in nats per frame; of weights and inputs
            less that of the base.
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
        nnet: the float network.
        data: the utterances.
    """

    def __init__(self, nnet: Nnet, data: CalibrationSet) -> None:
        self.nnet, self.data = nnet, data

    def divergence(self, network: QuantizedNetwork) -> Nats:
        """The mean divergence of the distributions over pdfs from the float network's, in nats per frame.

        Raises:
            DataError: too many utterances cannot be used.
        """
        expected = self._reference
        return mean_divergence(expected, self._rows(network.model(), BadUtterances(1.0)))

    @cached_property
    def _reference(self) -> dict[str, np.ndarray]:
        bad = BadUtterances(self.data.max_bad_share)
        rows = self._rows(AcousticModel(self.nnet), bad)
        bad.check()
        # Said once is enough: further runs do without the bad ones.
        self.data.utterances = [(name, feats) for name, feats in self.data.utterances if name in rows]
        return rows

    def _rows(self, model: AcousticModel, bad: BadUtterances) -> dict[str, np.ndarray]:
        inference = Inference(model, None, self.data.options, self.data.ivectors, bad)
        return dict(inference.compute(self.data.utterances))
