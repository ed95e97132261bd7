"""What a network tells the quantizer of itself, and the data that it is run on: the protocols that every kind fulfils.

A ``Source`` is a network as a user has it. Prepared for quantization it is a ``Host``: its values as nodes, its layers'
parameters, and a way to run it. What runs is an ``Executable``, whose layers are ``Slot``s: the product of each can be
replaced, and every node's value can be tapped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.quant.distance import Distance
from kaldi_quant.quant.graph import Nodes
from kaldi_quant.quant.passage import Passage
from kaldi_quant.quant.taps import Taps

if TYPE_CHECKING:
    from kaldi_quant.quant.channel_groups import ChannelGroup

#: The value of an addition from its terms, each (N, ..., channels), in the order of the node's reads; or that of a
#: product of two values from these, (..., rows, inner) and (..., inner, columns).
Arithmetic = Callable[[Sequence[Tensor]], Tensor]
#: For layers the weight, (out, in), and the bias, (out,).
Parameters = Mapping[str, tuple[Tensor, Tensor]]


class Slot(Protocol):
    """A layer in a network that runs.

    Attributes:
        weight: (out, in), one row for each output channel.
        bias: (out,), or None.
        product: computes (..., groups * in) → (..., out), called with rows and the bias.
        groups: of the input's columns (``grouped``).
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    product: nn.Module
    groups: int

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """As of ``torch.nn.Module``."""


class Executable(nn.Module, ABC):
    """A network that runs.

    Attributes:
        taps: functions at nodes.
        batches_of_one_length: whether a batch must hold sequences of one length, because padding would count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taps = Taps()
        self.batches_of_one_length = False

    @abstractmethod
    def slot(self, layer: str) -> Slot:
        """The layer of that name."""

    @abstractmethod
    def forget_programs(self) -> None:
        """Makes ready anew what depends on kinds of products; to be called when one is replaced by another kind."""


class StepwiseExecutable(Executable, ABC):
    """A network that runs and can wait between two steps."""

    @abstractmethod
    def passage(self, *args: Any, **kwargs: Any) -> Passage:
        """A batch before the first step; called like the network."""

    @abstractmethod
    def places(self, layer: str) -> list[int]:
        """The steps of a passage that use a layer, in order."""

    @abstractmethod
    def place_of(self, node: str) -> int:
        """The step of a passage that computes a node's value; -1 for inputs, which are there before the first."""

    @abstractmethod
    def resumed(self, passage: Passage) -> Passage:
        """A copy of a batch that has come some way through this network, or another of the same host, going on here."""

    @abstractmethod
    def is_one_call(self, place: int) -> bool:
        """Whether a step that uses a layer calls one product, and that once."""


class Source(Protocol):
    """A network as a user has it."""

    def prepare(self, fold: bool) -> Host:
        """The network ready for quantization.

        Args:
            fold: whether normalizations become part of layers wherever they can.

        Raises:
            ModelError: it cannot be executed, or has no layer to quantize.
        """

    def noise(self) -> Data:
        """A little data of the right shape, for what does not depend on data."""

    def digest(self) -> str:
        """What tells its structure and parameters from others."""


class Host(Source, Protocol):
    """A network ready for quantization."""

    @property
    def nodes(self) -> Nodes:
        """Its values."""

    @property
    def distance(self) -> Distance:
        """How far outputs are from the float network's."""

    def weight(self, layer: str) -> Tensor:
        """(out, in) float32."""

    def bias(self, layer: str, weight: Tensor) -> Tensor:
        """(out,) float64: a layer's bias with what its input lacks, for the weight used, (out, in)."""

    def columns(self, layer: str, values: Mapping[str, Tensor]) -> Tensor:
        """(in,): for each column of a layer's weight the value of the node that it meets.

        Args:
            layer: its name.
            values: for each node that it reads () or (channels,).
        """

    def float_reason(self, layer: str, static: bool) -> str:
        """Why a layer must stay in float; empty where it need not. static: whether its ranges are known beforehand."""

    def complete(self) -> Host:
        """The network with all that its inputs lack in its biases: it computes what the original does."""

    def with_parameters(self, parameters: Parameters) -> Host:
        """The network with other parameters of some layers."""

    def executable(self, arithmetic: Mapping[str, Arithmetic] | None = None) -> StepwiseExecutable:
        """The network in float, some additions and products of two values done in another way."""

    def channel_groups(self) -> list[ChannelGroup]:
        """Channels that can be rescaled without any change of the output."""

    def rescaled(self, factors: Mapping[ChannelGroup, np.ndarray]) -> Host:
        """The network with each channel divided by its factor, and the weights that read it multiplied by the same."""


class Data(Protocol):
    """What a network is run on.

    Attributes:
        device: where networks compute it.
        max_bad_share: how many units may be unusable.
    """

    device: torch.device
    max_bad_share: float

    @property
    def names(self) -> list[str]:
        """Those of its units (utterances, files)."""

    def keep(self, names: Iterable[str]) -> None:
        """Takes out all units but these."""

    def some(self, number: int = 20) -> Self:
        """At most so many of the units, evenly chosen."""

    def one_by_one(self) -> Iterator[Self]:
        """Each unit by itself."""

    def run(self, model: Executable, what: str = "") -> None:
        """Computes all units, for what taps and watchers see; those that cannot be used are taken out.

        Args:
            model: the network; it is moved to the device.
            what: what this is for, for the report of progress; empty where other work is reported that it is part of.

        Raises:
            DataError: too many units cannot be used.
        """

    def calls(self, model: Executable) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments that a network is called with to compute all units, batch after batch, on its device.

        Batches may depend on ``Executable.batches_of_one_length``.
        """

    def outputs(self, model: Executable, bad: BadUtterances | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """The outputs of a network, unit by unit: (rows, columns) float32.

        Args:
            model: the network; it computes where it is.
            bad: is told of units that cannot be used; by default they are left out.
        """

    def amount(self) -> int:
        """Its size in frames, or whatever costs are counted by."""

    def digest(self) -> str:
        """What tells it from others."""
