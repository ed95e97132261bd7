"""torchao's quantizer for x86, told what to do with each layer; what it found is read from the graph it makes.

Only this module imports torchao. For quantization-aware training each layer's product is exported by itself, for any
number of rows: a graph of the whole network would be for one length, and examples have several. What torchao puts
before a product to round its input rounds the node that it reads, for all that read it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchao.quantization import pt2e
from torchao.quantization.pt2e import observer as observers
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationConfig, QuantizationSpec
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer

from kaldi_quant.backends.torch_engines.observers import (
    Prepared,
    activation_fake_quantize,
    activation_observer,
    weight_fake_quantize,
    weight_observer,
)
from kaldi_quant.backends.torch_engines.plan import Plan
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import QSpec

__all__ = ["Found", "GraphQuantizer", "converted", "observers", "prepared", "prepared_network"]


@dataclass(frozen=True)
class Found:
    """What stands in a converted graph.

    Args:
        scale: of a layer's input, or of a mark.
        zero_point: likewise.
        weight: a layer's, (out, in) int8.
        weight_scale: (out,) or () float32.
    """

    scale: float
    zero_point: int
    weight: Tensor | None = None
    weight_scale: Tensor | None = None


class GraphQuantizer(X86InductorQuantizer):
    """Quantizes the layers that it is told of, and the nodes that are marked.

    Args:
        observer: how ranges are found.
        layers: for each ``layer0``, ``layer1``, … its configuration.
        marks: for each ``mark0``, ``mark1``, … its grid's width.
    """

    def __init__(self, observer: str, layers: list[LayerConfig], marks: list[QSpec]) -> None:
        super().__init__()
        self.observer, self.marks = observer, marks
        for i, layer in enumerate(layers):
            activation = self._activation(QSpec(layer.act_bits, signed=False, symmetric=False))
            weight = _weight_spec(layer, weight_observer(observers, layer))
            self.set_module_name_qconfig(f"layer{i}", QuantizationConfig(activation, activation, weight, None))

    def _activation(self, spec: QSpec) -> QuantizationSpec:
        return _activation_spec(spec, activation_observer(observers, self.observer, spec))

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """As its base class, and then the marked nodes."""
        model = super().annotate(model)
        for node in model.graph.nodes:
            if _place(node).startswith("mark"):
                spec = self._activation(self.marks[int(_place(node).removeprefix("mark"))])
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(output_qspec=spec, _annotated=True)
        return model


def _activation_spec(spec: QSpec, constructor: Any) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.uint8,
        observer_or_fake_quant_ctr=constructor,
        quant_min=spec.qmin,
        quant_max=spec.qmax,
        qscheme=torch.per_tensor_affine,
    )


def _weight_spec(layer: LayerConfig, constructor: Any) -> QuantizationSpec:
    spec = layer.weight_spec()
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=constructor,
        quant_min=spec.qmin,
        quant_max=spec.qmax,
        qscheme=torch.per_channel_symmetric if spec.per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if spec.per_channel else None,
    )


@dataclass(frozen=True)
class PreparedLayer:
    """A linear layer in training.

    Args:
        graph: computes it: (rows, in) → (rows, out); its input is no longer rounded.
        inputs: the FakeQuantize that rounded its input.
        weight: the FakeQuantize of its weight.
    """

    graph: fx.GraphModule
    inputs: Any
    weight: Any


def prepared_layer(linear: nn.Linear, layer: LayerConfig, spec: QSpec) -> PreparedLayer:
    """What torchao prepares of a layer for quantization-aware training.

    Args:
        linear: the layer; the graph has it as ``linear``.
        layer: its configuration.
        spec: the width of its input.
    """
    rows = torch.zeros(2, linear.in_features)
    module = nn.Sequential(OrderedDict(linear=linear))
    exported = torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},))
    activation = _activation_spec(spec, activation_fake_quantize(pt2e, spec))
    weight = _weight_spec(layer, weight_fake_quantize(pt2e, layer))
    quantizer = X86InductorQuantizer().set_global(QuantizationConfig(activation, activation, weight, None, is_qat=True))
    graph = prepare_qat_pt2e(exported.module(), quantizer)
    product = next(node for node in graph.graph.nodes if node.target == torch.ops.aten.linear.default)
    place, of_weight = (str(node.target) for node in product.args[:2])
    found = PreparedLayer(graph, graph.get_submodule(place), graph.get_submodule(of_weight))
    graph.set_submodule(place, nn.Identity())
    return found


def prepared(graph: fx.GraphModule, quantizer: GraphQuantizer) -> fx.GraphModule:
    """The graph with observers in it."""
    return prepare_pt2e(graph, quantizer)


def converted(graph: fx.GraphModule) -> dict[str, Found]:
    """What the observers have found, by ``layer0``, …, ``mark0``, …; a layer's first product counts."""
    result = convert_pt2e(graph)
    found: dict[str, Found] = {}
    for node in result.graph.nodes:
        place = _place(node)
        if place.startswith("mark"):
            user = next(iter(node.users))
            found[place] = Found(float(user.args[1]), int(user.args[2]))
        elif place.startswith("layer") and node.target == torch.ops.aten.linear.default and place not in found:
            x, weight = node.args[0], node.args[1]
            scale = weight.args[1]
            scale = _tensor(result, scale) if isinstance(scale, fx.Node) else torch.tensor(scale)
            found[place] = Found(float(x.args[1]), int(x.args[2]), _tensor(result, weight.args[0]), scale)
    return found


def _place(node: Any) -> str:
    """The layer or mark that an operation belongs to; empty for others."""
    if node.op != "call_function" or node.target not in (torch.ops.aten.linear.default, torch.ops.aten.clone.default):
        return ""
    names = [path.split(".")[0] for path, _ in node.meta.get("nn_module_stack", {}).values()]
    return next((name for name in names if name.rstrip("0123456789") in ("layer", "mark")), "")


def _tensor(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    """The constant that a node reads."""
    value: Any = graph
    for name in str(node.target).split("."):
        value = getattr(value, name)
    return value.detach()


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


def prepared_network(plan: Plan, start: QuantizedNetwork) -> Prepared:
    """The modules of a network.

    Args:
        plan: what is to be done; all ranges known beforehand.
        start: what quantization after training made of it.

    """
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
        part = prepared_layer(linear, plan.layers[name], spec)
        if not layer.inputs.per_column:
            fakes.setdefault(node, part.inputs)
        folded = layer.inputs.folded.float() if layer.inputs.per_column else None
        result.products[name] = _GraphProduct(part.graph, folded)
        result.linears[name], result.weights[name] = part.graph.linear, part.weight
    for group in start.graph.groups():
        found = [fakes[node] for node in group if node in fakes]
        # Network inputs, and terms of sums, which no layer reads.
        fake = found[0] if found else activation_fake_quantize(pt2e, specs[group[0]])()
        result.activations.update(dict.fromkeys(group, fake))
    result.taps.update(result.activations)
    return result
