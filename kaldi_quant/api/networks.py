"""Float networks of either kind, and the data that they are run on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.features.pipeline import FeatureSources, make_pipeline
from kaldi_quant.kaldi.features.settings import FeatureSettings, settings_of_folder
from kaldi_quant.kaldi.frame_subsampling import factor_of, folder_of
from kaldi_quant.kaldi.model import Model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference_options import InferenceOptions
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.distance import Distance
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchSource
from kaldi_quant.units import Frames


class FloatNetwork(ABC):
    """A float network, and how it is run."""

    @abstractmethod
    def data(self, inputs: Any) -> Data:
        """Inputs to run it on.

        Raises:
            KaldiQuantError: they are none that it takes.
        """

    @abstractmethod
    def source(self, data: Data) -> Source:
        """The network as the quantizer takes it; data: some that it takes.

        Raises:
            KaldiQuantError: it cannot be run.
        """


@dataclass(frozen=True)
class KaldiNetwork(FloatNetwork):
    """An nnet3 model.

    Args:
        model: as ``load`` reads it.
        subsampling: frames between outputs; by default what its folder says.
        ivectors: tells the i-vectors of an utterance, (dim,), where the network has that input.
        settings: how features are normalised; by default what its folder says.
    """

    model: Model
    subsampling: Frames | None = None
    ivectors: Callable[[str], np.ndarray | None] | None = None
    settings: FeatureSettings | None = None

    @property
    def factor(self) -> Frames:
        """Frames between outputs.

        Raises:
            DataError: nothing says it.
        """
        return factor_of(self.model, self.subsampling)

    def data(self, inputs: Any) -> UtteranceSet:
        """Utterances.

        Args:
            inputs: a table (``"scp:data/train/feats.scp"``), whose features are normalised as the model's folder says;
                or features as the network takes them, (frames, dim) float32: by utterance, as (name, features) pairs,
                or alone, which are numbered.
        """
        options = InferenceOptions(ChunkOptions(self.factor))
        if isinstance(inputs, UtteranceSet):
            return inputs
        if isinstance(inputs, str):
            settings = self.settings or settings_of_folder(folder_of(self.model.path))
            pipeline = make_pipeline(settings, inputs, FeatureSources(), lambda: self.model.nnet.node_dim("input"))
            return UtteranceSet(pipeline.apply(read_matrices(inputs)), options, self.ivectors)
        pairs = inputs.items() if isinstance(inputs, Mapping) else _named(inputs)
        return UtteranceSet(((name, np.asarray(feats, np.float32)) for name, feats in pairs), options, self.ivectors)

    def source(self, data: Data) -> Nnet3Source:
        """The network."""
        return Nnet3Source(self.model.nnet)


@dataclass(frozen=True)
class TorchNetwork(FloatNetwork):
    """A network of ``torch.nn``; it is never changed.

    Args:
        module: the network, which is run in test mode.
        distance: how far outputs are from the float network's; by default the squared error.
        output: which part of what it returns is its output, if it returns several: a place or a key.
        columns: the axis of the output that holds classes, or whatever belongs together in a row.
    """

    module: nn.Module
    distance: Distance | None = None
    output: int | str | None = None
    columns: int = -1

    def data(self, inputs: Any) -> TensorData:
        """Inputs, each for one call: a tensor, a tuple of arguments or a dict of arguments by name, in an iterable, or
        by name in a mapping of names to them."""
        return inputs if isinstance(inputs, TensorData) else TensorData(inputs, self.output, self.columns)

    def source(self, data: Data) -> TorchSource:
        """The network, traced with the first of the data."""
        if not isinstance(data, TensorData) or not data.units:
            raise UsageError("a network of torch.nn needs an input to be traced with: there is none")
        call = data.units[0][1]
        return TorchSource(self.module, call.args or dict(call.kwargs), self.distance)


def as_network(network: Any) -> FloatNetwork:
    """A network with the usual way to run it.

    Raises:
        UsageError: it is no float network.
    """
    if isinstance(network, FloatNetwork):
        return network
    if isinstance(network, Model):
        return KaldiNetwork(network)
    if isinstance(network, nn.Module):
        return TorchNetwork(network)
    raise UsageError(
        f"expected a model from load() or a torch.nn.Module, found {type(network).__name__}; a path is read by load()"
    )


def _named(inputs: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    for number, entry in enumerate(inputs):
        yield entry if isinstance(entry, tuple) else (str(number), entry)
