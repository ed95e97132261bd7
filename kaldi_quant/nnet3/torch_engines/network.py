"""A quantized network that runs on PyTorch's integer kernels, in the place of an acoustic model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kaldi_quant.backends.torch_engines.engines import Engine, engine_in_use
from kaldi_quant.backends.torch_engines.products import DynamicProduct, StaticProduct
from kaldi_quant.backends.torch_engines.silence import without_notes
from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.nnet3.torch_engines.components import FromGrid, OnGrid, Passed, QuantizedSum
from kaldi_quant.nnet3.torch_engines.wiring import Wiring, wire
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork


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
        else:
            module.product = DynamicProduct(layer, self.engine)
        module.weight = nn.Parameter(torch.zeros(0), requires_grad=False)

    def outputs(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the output of a batch on the engine; arguments and result are those of ``AcousticModel``."""
        with without_notes(), engine_in_use(self.engine):
            return super().outputs(feats, spans, output_times, ivectors)
