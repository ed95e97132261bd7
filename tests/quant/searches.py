"""Searches on few utterances, for tests."""

import copy
from pathlib import Path

import numpy as np

from kaldi_quant.formats.artefact import save
from kaldi_quant.kaldi.model import Model
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import InferenceOptions
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.search.measurements import Store
from kaldi_quant.quant.search.options import SearchOptions
from kaldi_quant.quant.search.search import Search

OPTIONS = InferenceOptions(ChunkOptions(3))
FAST = PtqConfig(LayerConfig(method="minmax"), observer="minmax")


def make_search(
    model: Model, utterances: list[tuple[str, np.ndarray]], path: Path, options: SearchOptions, config: PtqConfig = FAST
) -> Search:
    """On few utterances, with records of one size."""
    data = UtteranceSet(utterances, OPTIONS)

    def file_size(network: QuantizedNetwork, _: PtqConfig) -> int:
        return save(path / "predicted.safetensors", network, model, {})

    store = Store(path / "measurements.json", {"model": model.nnet.path})
    return Search(Nnet3Source(model.nnet), config, data, UtteranceSet(utterances, OPTIONS), store, options, file_size)


def written(model: Model, path: Path, network: QuantizedNetwork) -> int:
    return save(path / "real.safetensors", network, model, {})


def fresh(search: Search, path: Path) -> Search:
    """The same search with a store of its own, in which no model is known yet."""
    store = Store(path / "measurements.json", search.measuring.store.about)
    store.measurements = dict(search.measuring.store.measurements)
    copied, measuring = copy.copy(search), copy.copy(search.measuring)
    copied.measuring, measuring.store = measuring, store
    return copied
