"""What ``torchao`` prepares for quantization-aware training: each layer's product, exported for any number of rows.

A graph of the whole network would be for one length, and examples have several. What torchao puts before a product to
round its input rounds the node that it reads, for all that read it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.backends.torch_engines.fake_quantize import Prepared, activation_fake_quantize
from kaldi_quant.backends.torch_engines.plan import Plan
from kaldi_quant.errors import MissingDependencyError
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import QSpec


class _GraphProduct(nn.Module):
    """A graph in the place of a layer's product.

    Args:
        graph: (rows, in) → (rows, out).
        folded: (in,) float32, the scales of the input's columns that are multiplied into the weight; None for none.
    """

    folded: Tensor | None

    def __init__(self, graph: Any, folded: Tensor | None) -> None:
        super().__init__()
        # It computes the same in training and in test, and refuses to be told which.
        graph.train = lambda mode=True: graph
        self.graph = graph
        self.register_buffer("folded", folded)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        x = x if self.folded is None else x / self.folded
        rows: Tensor = self.graph(x.reshape(-1, x.shape[-1]))
        return rows.view(*x.shape[:-1], -1)


def prepare_pt2e(plan: Plan, start: QuantizedNetwork) -> Prepared:
    """The modules of a network.

    Args:
        plan: what is to be done; all ranges known beforehand.
        start: what quantization after training made of it.

    Raises:
        MissingDependencyError: torchao is not installed.
    """
    library: Any = torchao_library()
    result = Prepared({}, {}, {}, {}, {})
    specs = {name: plan.activation_spec(start.graph, group) for group in start.graph.groups() for name in group}
    fakes: dict[str, Any] = {}
    for name, layer in start.layers.items():
        assert isinstance(layer, IntegerLinear)
        weight = plan.weight(name, layer.inputs)
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(len(weight)))
        node = start.graph.inputs_of(name)[0]
        # Where the input's scales are multiplied into the weight, the layer reads steps of them.
        spec = QSpec(plan.layers[name].act_bits, signed=False) if layer.inputs.per_column else specs[node]
        part = library.prepared_layer(linear, plan.layers[name], spec)
        if not layer.inputs.per_column:
            fakes.setdefault(node, part.inputs)
        folded = layer.inputs.folded.float() if layer.inputs.per_column else None
        result.products[name] = _GraphProduct(part.graph, folded)
        result.linears[name], result.weights[name] = part.graph.linear, part.weight
    for group in start.graph.groups():
        found = [fakes[node] for node in group if node in fakes]
        # Network inputs, and terms of sums, which no layer reads.
        fake = found[0] if found else activation_fake_quantize(library.pt2e, specs[group[0]])()
        result.activations.update(dict.fromkeys(group, fake))
    result.taps.update(result.activations)
    return result


def torchao_library() -> ModuleType:
    """The module that imports torchao."""
    try:
        from kaldi_quant.backends.torch_engines import x86_quantizer
    except ImportError as error:
        raise MissingDependencyError(
            f"the route pt2e needs the package torchao: pip install torchao, "
            f"or use the route eager, which does not need it ({error})"
        ) from error
    return x86_quantizer
