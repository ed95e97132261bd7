"""The layers of a traced network: its products with weights of its own, each of one of the ``FORMS``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.nn import functional

from kaldi_quant.torchnn.computation import attribute
from kaldi_quant.torchnn.forms import FORMS, Layer
from kaldi_quant.torchnn.graph_nodes import argument, inputs_of, is_constant, name_of
from kaldi_quant.torchnn.recurrent_nodes import of_direction
from kaldi_quant.torchnn.region import Region, joined

#: Products of two values beside matrix products, which are nodes of their own.
_OF_TWO_VALUES = ("baddbmm", "addbmm", "einsum", "bilinear", "scaled_dot_product_attention")


class _Product(NamedTuple):
    """A product as a function is called.

    Args:
        node: the call.
        form: of a layer that computes it.
        input: what it reads.
        weight: a constant.
        bias: a constant, or None.
        options: of the form.
    """

    node: fx.Node
    form: type[Layer]
    input: fx.Node
    weight: fx.Node
    bias: fx.Node | None
    options: dict[str, Any]


def put_layers(region: Region) -> set[int]:
    """Puts layers in the place of a graph's products.

    Products that cannot be layers stay functions, and their ``meta["why"]`` says why.

    Args:
        region: whose graph still has the example's values.

    Returns:
        The network's own tensors that layers have taken the place of, by ``id``.
    """
    taken: set[int] = set()
    names: set[str] = set()
    by_weight: dict[str, list[_Product]] = defaultdict(list)
    for node in region.graph.nodes:
        found = _product(node)
        if isinstance(found, str):
            node.meta["why"] = found
        elif found is not None:
            by_weight[str(found.weight.target if found.weight.op == "get_attr" else found.weight.name)].append(found)
    for products in by_weight.values():
        first = products[0]
        if any(_key(other) != _key(first) for other in products):
            for product in products:
                product.node.meta["why"] = "its weight is used in two ways"
            continue
        bias = None if first.bias is None else first.bias.meta["value"]
        layer = first.form.of(first.weight.meta["value"], bias, **first.options)
        layer.name = _name(region, first, names)
        names.add(layer.name)
        taken |= {id(attribute(region, str(node.target))) for node in _read_by(first.weight)}
        target = region.add_part(layer)
        for product in products:
            product.node.op, product.node.target = "call_module", target
            product.node.args, product.node.kwargs = (product.input,), {}
    for node in region.graph.nodes:
        recurrence = region.recurrence_of(node)
        if recurrence is not None:
            taken |= recurrence.put_layer(joined(of_direction(region, node), "hh"))
    _erase_unread_constants(region.graph)
    return taken


def _read_by(constant: fx.Node) -> list[fx.Node]:
    """The tensors that a constant is computed from."""
    if constant.op == "get_attr":
        return [constant]
    return [tensor for other in constant.all_input_nodes for tensor in _read_by(other)]


def _key(product: _Product) -> tuple[Any, ...]:
    bias = None if product.bias is None else product.bias.target
    return product.form, bias, sorted(product.options.items(), key=lambda option: option[0])


def _product(node: fx.Node) -> _Product | str | None:
    """The product that a node is; why it cannot be a layer; None for all else."""
    name = name_of(node)
    if name in _OF_TWO_VALUES and sum(not is_constant(factor) for factor in inputs_of(node)) > 1:
        return "its factors are computed from the input, and it is no plain product of matrices"
    if node.op != "call_function" or name not in FORMS:
        return None
    if node.target not in (getattr(functional, name, None), getattr(torch, name, None)):
        return None
    form = FORMS[name]
    given, weight, bias = argument(node, 0, "input"), argument(node, 1, "weight"), argument(node, 2, "bias")
    options = {
        option: argument(node, 3 + place, option, default)
        for place, (option, default) in enumerate(form.options.items())
    }
    found: list[fx.Node] = []
    fx.node.map_arg(tuple(options.values()), found.append)
    if found:
        return "its options depend on the sizes of its input"
    if not _is_tensor_constant(weight) or not (bias is None or _is_tensor_constant(bias)):
        return "its weight is computed from the input"
    if is_constant(given):
        return None
    return _Product(node, form, given, weight, bias, options)


def _is_tensor_constant(value: Any) -> bool:
    return isinstance(value, fx.Node) and is_constant(value) and isinstance(value.meta["value"], Tensor)


def _name(region: Region, product: _Product, others: Collection[str]) -> str:
    """The layer's, unlike others: that of the module that has the weight, or that computes it."""
    if product.weight.op == "get_attr":
        path = str(product.weight.target).removeprefix("original.")
        module, _, last = path.rpartition(".")
        path = module if last == "weight" else path
    else:
        path = next((path for path, _ in reversed(product.node.meta["stack"])), product.node.name)
    name = joined(region.path, path) or region.kind
    return joined(name, product.node.name) if name in others else name


def _erase_unread_constants(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op != "output" and is_constant(node):
            graph.erase_node(node)
