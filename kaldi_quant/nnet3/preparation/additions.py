"""Sums of nodes that are added in another way than in float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.descriptor import Append
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.nnet3.components.base import FrameComponent
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.nodes import addends
from kaldi_quant.quant.host import Arithmetic


class _Added(FrameComponent):
    """Adds nodes whose values x holds side by side."""

    def __init__(self, component: Component, terms: int, add: Arithmetic) -> None:
        super().__init__(component)
        self.terms, self.add = terms, add

    def forward(self, x: Tensor) -> Tensor:
        return self.add(x.unflatten(-1, (self.terms, -1)).unbind(-2))


def with_additions(nnet: Nnet, additions: Mapping[str, Arithmetic]) -> AcousticModel:
    """The network in torch, some of its sums added in another way.

    Args:
        nnet: prepared.
        additions: for nodes that are sums, what adds their terms.
    """
    components, nodes = dict(nnet.components), dict(nnet.nodes)
    for name in additions:
        nodes[name], components[name] = terms_side_by_side(nnet, name)
    model = AcousticModel(Nnet.of_nodes(nodes.values(), components, nnet.path))
    for name, add in additions.items():
        terms = model.nnet.components[name]["InputDim"] // nnet.node_dim(name)
        model.replace_component(name, _Added(model.nnet.components[name], terms, add))
    return model


def terms_side_by_side(nnet: Nnet, name: str) -> tuple[ComponentNode, Component]:
    """A sum whose terms are appended, and a component of its size, for one that adds them in its own way."""
    node, dim = nnet.nodes[name], nnet.node_dim(name)
    assert isinstance(node, ComponentNode)
    terms = addends(node.input)
    assert terms is not None
    fields = [("InputDim", dim * len(terms)), ("OutputDim", dim), ("Scale", 1.0)]
    changed = replace(node, input=Append(tuple(term for _, term in terms)))
    return changed, Component("SumBlockComponent", fields)
