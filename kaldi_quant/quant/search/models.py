"""Models of proposals, really quantized, measured once and known from then on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.quant.host import Data, Executable
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import quantize
from kaldi_quant.quant.search.measured_model import MeasuredModel, WordErrors
from kaldi_quant.quant.search.search import Proposal, Search

_log = logging.getLogger(__name__)

#: Decodes and scores log-likelihoods, (frames, pdfs) float32 for each utterance.
Scorer = Callable[[Iterable[tuple[str, np.ndarray]]], WordErrors]


@dataclass(frozen=True)
class Scoring:
    """How word errors are measured.

    Args:
        data: all of the development data.
        score: decodes it.
    """

    data: Data
    score: Scorer

    def word_errors(self, model: Executable) -> WordErrors:
        """Of a network in torch.

        Raises:
            DataError: too many utterances cannot be used.
        """
        return self.score(self._rows(model))

    def _rows(self, model: Executable) -> Iterator[tuple[str, np.ndarray]]:
        bad = BadUtterances(self.data.max_bad_share)
        yield from self.data.outputs(model, bad)
        bad.check()


class Models:
    """The models of a search.

    Args:
        search: after its measurements, but for ``float_errors``; its store keeps what is measured here.
        scoring: how words are measured; None where there is no graph.
    """

    def __init__(self, search: Search, scoring: Scoring | None = None) -> None:
        self.search, self.scoring = search, scoring
        self.store = search.measuring.store
        self._latest: tuple[str, QuantizedNetwork] | None = None

    def network(self, proposal: Proposal) -> QuantizedNetwork:
        """Quantized as the result would be; the latest is kept."""
        digest = configuration_digest(proposal)
        if self._latest is None or self._latest[0] != digest:
            self._latest = None
            network = quantize(self.search.source, proposal.config, self.search.candidates.calibration)
            self._latest = (digest, network)
        return self._latest[1]

    def measured(self, proposal: Proposal) -> MeasuredModel:
        """What a proposal's model is like: from the store, or quantized, measured and kept there.

        Raises:
            DataError: too many utterances cannot be used.
        """
        model = self.store.models.get(configuration_digest(proposal))
        if model is None:
            model = self._new(proposal)
            self.store.add_model(model)
        if self.scoring is not None and model.word_errors is None and model.can_be_decoded:
            model = replace(model, word_errors=self.scoring.word_errors(self.network(proposal).model()))
            self.store.add_model(model)
            _log.info("%d bytes: %s", model.bytes, _told(model))
        return model

    def _new(self, proposal: Proposal) -> MeasuredModel:
        network, layers = self.network(proposal), proposal.allocation.layers
        return MeasuredModel(
            configuration_digest(proposal),
            {name: option.bits for name, option in layers.items()},
            {name: option.act_bits for name, option in layers.items()},
            self.search.file_size(network, proposal.config),
            self.search.meter.divergence(network),
        )

    def float_errors(self) -> WordErrors | None:
        """The float model's; None where there is no graph, and they are not known.

        Raises:
            DataError: too many utterances cannot be used.
        """
        if self.store.float_errors is None and self.scoring is not None:
            self.store.add_float(self.scoring.word_errors(self.search.meter.host.executable()))
        return self.store.float_errors


def _told(model: MeasuredModel) -> str:
    assert model.word_errors is not None
    errors, words = model.word_errors
    return f"{model.divergence:.4f} nats, {model.word_errors.percent:.2f} %WER ({errors} errors in {words} words)"


def configuration_digest(proposal: Proposal) -> str:
    """A digest of how a proposal's model is quantized, whatever its description says."""
    content = {**proposal.config.as_dict(), "description": ""}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
