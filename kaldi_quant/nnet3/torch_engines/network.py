"""A quantized network on PyTorch's integer kernels, in the place of an acoustic model: nodes on grids hold integers.

A product whose input may be absent, and then is zero, is given floats on the grid. An engine is checked before it is
trusted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kaldi_quant.backends.torch_engines.kernels import (
    Engine,
    as_quantized,
    engine_in_use,
    engine_named,
    integers_of,
    without_notes,
)
from kaldi_quant.backends.torch_engines.products import DynamicProduct, StaticProduct, is_exact, narrowed
from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import FrameComponent
from kaldi_quant.nnet3.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.nnet3.torch_engines.wiring import Wiring, wire
from kaldi_quant.quant.graph import Read
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_sum import integer_sum
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import LARGEST_BYTE
from kaldi_quant.units import Bits

# Two products of 7-bit activations and 8-bit weights fit the 16 bits in which older processors add them.
_SAFE_BITS = 7

_log = logging.getLogger(__name__)


class OnGrid(FrameComponent):
    """Floats to the integers of a grid: PyTorch's ``QuantStub``, converted. Network inputs have a grid per column."""

    def __init__(self, component: Component, grid: Grid) -> None:
        super().__init__(component)
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.quantize(x).to(torch.uint8)


class FromGrid(FrameComponent):
    """What float components read of a node on a grid: its values; given floats, these rounded to the grid."""

    def __init__(self, component: Component, grid: Grid) -> None:
        super().__init__(component)
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.dequantize(x.int()) if x.dtype == torch.uint8 else self.grid.fake(x)


class Passed(FrameComponent):
    """A ReLU that the product before it has done already."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class QuantizedSum(FrameComponent):
    """Adds nodes on grids with PyTorch's quantized addition; their values are given side by side.

    Args:
        component: takes their columns side by side.
        terms: what is added.
        grids: of the terms.
        output: of the sum.
    """

    def __init__(self, component: Component, terms: Sequence[Read], grids: list[Grid], output: Grid) -> None:
        super().__init__(component)
        self.coefficients = [term.coefficient for term in terms]
        self.grids, self.output = grids, output
        self.native = len(terms) == 2 and min(self.coefficients) > 0

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, T, terms * dim), uint8, or float on the grids → (N, T, dim) uint8."""
        parts = x.unflatten(-1, (len(self.grids), -1)).unbind(-2)
        if x.dtype != torch.uint8:
            parts = tuple(grid.quantize(part).to(torch.uint8) for grid, part in zip(self.grids, parts, strict=True))
        if not self.native:
            return integer_sum([part.int() for part in parts], self.grids, self.coefficients, self.output).to(
                torch.uint8
            )
        # A term's coefficient is a change of its scale.
        terms = [
            as_quantized(part.contiguous(), float(grid.scale) * coefficient, int(grid.zero_point))
            for part, grid, coefficient in zip(parts, self.grids, self.coefficients, strict=True)
        ]
        total = torch.ops.quantized.add(*terms, float(self.output.scale), int(self.output.zero_point))
        integers = integers_of(total)
        return integers.clamp_max_(self.output.spec.qmax) if self.output.spec.qmax < LARGEST_BYTE else integers


class TorchNetwork(AcousticModel):
    """A quantized network whose products run on PyTorch's integer kernels.

    Args:
        network: the quantized network.
        engine: whose kernels.

    Raises:
        ModelError: PyTorch has no kernel for a layer or its input.
    """

    def __init__(self, network: QuantizedNetwork, engine: Engine) -> None:
        for name, grid in network.activations.items():
            if grid.spec.is_wide:
                raise ModelError(
                    f"PyTorch's kernels multiply integers of at most 8 bits, and those of the node {name} have "
                    f"{grid.spec.bits}: run the model with --engine reference"
                )
        wiring = wire(network)
        super().__init__(wiring.nnet)
        self.network = network
        self.engine: Engine = engine
        with without_notes(), engine_in_use(engine):
            self._replace_nodes(wiring)
            for name in network.layers:
                self._replace_product(name, wiring)
        self.batches_of_one_length = not all(isinstance(layer, IntegerLinear) for layer in network.layers.values())
        # The float weights were for the network's shape alone.
        self.requires_grad_(False)

    def _replace_nodes(self, wiring: Wiring) -> None:
        grids, components = self.network.activations, wiring.nnet.components
        for name in wiring.passed:
            self.replace_component(name, Passed(components[name]))
        for name, node in wiring.on_grid.items():
            self.replace_component(name, OnGrid(components[name], grids[node]))
        for name, node in wiring.from_grid.items():
            self.replace_component(name, FromGrid(components[name], grids[node]))
        for name, terms in wiring.sums.items():
            of_terms = [grids[term.node] for term in terms]
            self.replace_component(name, QuantizedSum(components[name], terms, of_terms, grids[name]))

    def _replace_product(self, name: str, wiring: Wiring) -> None:
        layer, module = self.network.layers[name], self.slot(name)
        if isinstance(layer, IntegerLinear):
            end = wiring.destinations[name]
            output = self.network.activations[end.node] if end else None
            module.product = StaticProduct(layer, self.engine, output, relu=end is not None and end.relu)
            if isinstance(module, TimeHeightConvolution) and name in wiring.takers:
                # What lies beyond the height is the integer that stands for zero.
                module.zero = int(layer.inputs.zero_point[0])
        elif isinstance(layer, DynamicLinear):
            module.product = DynamicProduct(layer, self.engine)
        else:
            raise ModelError(
                f"PyTorch's engines have no kernel for the layer {name}, in which weights alone, or groups of columns "
                "with scales of their own, are quantized: run the model with --engine reference"
            )
        module.weight = nn.Parameter(torch.zeros(0), requires_grad=False)

    def outputs(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the output of a batch on the engine; arguments and result are those of ``AcousticModel``."""
        with without_notes(), engine_in_use(self.engine):
            return super().outputs(feats, spans, output_times, ivectors)


def executable(
    network: QuantizedNetwork, engine: str = "auto", check: Callable[[Engine, Bits], bool] = is_exact
) -> TorchNetwork:
    """A quantized network on an engine of PyTorch; activations get 7 bits where the engine's 8-bit products overflow.

    Args:
        network: the quantized network.
        engine: its name; ``auto`` is the first that the machine has.
        check: tells whether an engine's products of activations of a width are those of the integer reference here.

    Raises:
        UsageError: the machine lacks the engine.
        ModelError: it has no kernel for a layer, or computes wrong results on this machine.
    """
    chosen = engine_named(engine)
    made = TorchNetwork(network, chosen)
    widest = max([network.act_bits(name) for name in network.layers], default=0)
    if widest and not check(chosen, widest):
        if widest <= _SAFE_BITS or not check(chosen, _SAFE_BITS):
            raise ModelError(
                f"the engine {chosen} gives wrong integers on this processor: choose another with --engine"
            )
        _log.warning(
            "this processor's %d-bit products overflow in the engine %s (it has no VNNI): activations get %d bits",
            widest,
            chosen,
            _SAFE_BITS,
        )
        return TorchNetwork(narrowed(network, _SAFE_BITS), chosen)
    return made
