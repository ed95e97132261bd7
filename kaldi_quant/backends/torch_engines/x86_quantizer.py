"""torchao's quantizer for x86, told what to do with each layer; what it found is read from the graph it makes.

Only this module imports torchao.
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

from kaldi_quant.backends.torch_engines.fake_quantize import activation_fake_quantize, weight_fake_quantize
from kaldi_quant.backends.torch_engines.observed import activation_observer, weight_observer
from kaldi_quant.quant.config import LayerConfig
from kaldi_quant.quant.spec import QSpec

__all__ = ["Found", "GraphQuantizer", "PreparedLayer", "converted", "observers", "prepared", "prepared_layer", "pt2e"]


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
