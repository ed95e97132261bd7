"""A network made ready for quantization, without any change of its float output.

What has no effect at inference goes (dropout, masks, other outputs, statistics of training). The scale of a
normalization folds *backwards*, through the ReLU, into the rows of its own affine layer: exact, because it is positive
and ReLU is positively homogeneous, and invisible to per-channel weight grids; activations stay unsigned. Its offset is
set aside for the next layer's bias, which is to be computed from the weights that the layer really has after
quantization: with the float ones the error of the weights times the offset would stay as a systematic one. A bypass sum
(TDNN-F) carries offsets on.

All that is for weights with a scale for each row. One scale for the whole matrix notices: a unit that is hardly ever
active has a variance near 0, so that its row becomes many times as wide as the others, and decides the grid of all. A
network is therefore also prepared without folding: a normalization is then a product and a sum for each channel,
computed in float between a layer's result and the grid of what reads it, and each layer keeps its own weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import WITHOUT_INPUT
from kaldi_quant.kaldi.descriptor import (
    Append,
    Const,
    Descriptor,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Scale,
    Sum,
    with_sources,
)
from kaldi_quant.kaldi.inference_values import check_values
from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet, Node
from kaldi_quant.kaldi.node_sources import readers, redirected, sources
from kaldi_quant.kaldi.training_statistics import without_statistics
from kaldi_quant.nnet3.graph import check_inputs, reachable_nodes
from kaldi_quant.nnet3.preparation.channelwise import scale_and_offset
from kaldi_quant.nnet3.preparation.linear_components import (
    AFFINE_TYPES,
    HEIGHT_TYPES,
    LINEAR_FIELDS,
    bias_of,
    is_linear,
    set_parameters,
    weight_of,
)
from kaldi_quant.quant.graph import recurrent_nodes

_INERT = ("GeneralDropoutComponent", "SpecAugmentTimeMaskComponent", "ClipGradientComponent", "NoOpComponent")
# The two forms that scales and offsets have where nothing is folded.
_SPELLED_OUT = ("FixedScaleComponent", "FixedBiasComponent")


def drafted(nnet: Nnet, output: str, fold: bool) -> tuple[Nnet, dict[str, np.ndarray], frozenset[str]]:
    """A network made ready; arguments as of ``prepare``.

    Returns:
        the network without offsets, for each linear component what its input lacks, and the fixed transforms.
    """
    draft = _Draft(nnet, output)
    draft.remove_inert()
    if fold:
        draft.fold_channelwise()
        draft.merge_affine()
    else:
        draft.spell_out_channelwise()
    draft.name_sums()
    input_offsets = draft.settle_offsets()
    if not any(is_linear(component) for component in draft.components.values()):
        kinds = ", ".join(sorted(LINEAR_FIELDS))
        raise ModelError(f"{nnet.path}: {output} depends on no layer that can be quantized ({kinds})")
    return draft.finish(nnet.path), input_offsets, draft.transforms()


class _Draft:
    """The network while it is changed: every node has a component of its own, named like the node."""

    def __init__(self, nnet: Nnet, output: str) -> None:
        names = reachable_nodes(nnet, output)
        check_values(nnet, names)
        check_inputs(nnet, names)
        self.nodes: dict[str, Node] = {}
        self.components: dict[str, Component] = {}
        for name in names:
            node = nnet.nodes[name]
            if isinstance(node, ComponentNode):
                self.components[name] = without_statistics(nnet.components[node.component])
                node = replace(node, component=name)
                if self.components[name].type in WITHOUT_INPUT and not {*sources(node)} <= {*names}:
                    # What it is given and does not read may be nothing that the output needs.
                    node = replace(node, input=Const(0.0, nnet.component_dims(node)[0]))
            self.nodes[name] = node
        #: What a node's values lack: (dim,) float64.
        self.offsets: dict[str, np.ndarray] = {}
        self.recurrent = recurrent_nodes({name: sources(node) for name, node in self.nodes.items()})
        self._fixed = [name for name, part in self.components.items() if part.type == "FixedAffineComponent"]

    def transforms(self) -> frozenset[str]:
        """The linear components of the file that training left alone and that read nothing but inputs."""
        own = (name for name in self._fixed if name in self.nodes)
        return frozenset(
            name for name in own if all(isinstance(self.nodes[leaf], InputNode) for leaf in sources(self.nodes[name]))
        )

    def finish(self, path: str) -> Nnet:
        nnet = Nnet.of_nodes(self.nodes.values(), self.components, path)
        nnet.check()
        return nnet

    def consumers(self, name: str) -> list[Node]:
        return readers(self.nodes, name)

    def redirect(self, name: str, source: Node) -> None:
        """Lets the consumers of one node read another."""
        for consumer in self.consumers(name):
            self.nodes[consumer.name] = redirected(consumer, {name: source})

    def bypass(self, name: str, source: str) -> None:
        """Takes a node out, its consumers reading ``source`` instead."""
        self.redirect(name, self.nodes[source])
        del self.nodes[name], self.components[name]

    def remove_inert(self) -> None:
        """Takes out what passes its input on unchanged."""
        for node in list(self.nodes.values()):
            if not isinstance(node, ComponentNode) or node.name in self.recurrent:
                continue
            node = self.nodes[node.name]  # its input may have changed meanwhile
            assert isinstance(node, ComponentNode)
            if self.components[node.name].type in _INERT and isinstance(node.input, NodeName):
                self.bypass(node.name, node.input.node)

    def fold_channelwise(self) -> None:
        """Folds scales backwards into the affine layer before, through a ReLU; offsets are set aside."""
        for name in list(self.nodes):
            node = self.nodes[name]
            if not isinstance(node, ComponentNode) or name in self.recurrent or not isinstance(node.input, NodeName):
                continue
            pair = scale_and_offset(self.components[name])
            if pair is not None:
                self._fold(node, node.input.node, *pair)

    def spell_out_channelwise(self) -> None:
        """Makes each scale and offset two nodes, a product and a sum, which every execution rounds alike."""
        for name in list(self.nodes):
            node = self.nodes[name]
            pair = None
            if isinstance(node, ComponentNode) and name not in self.recurrent:
                pair = scale_and_offset(self.components[name])
            if pair is None or self.components[name].type in _SPELLED_OUT:
                continue
            scale, offset = (values.astype(np.float32) for values in pair)
            self.components[name] = Component("FixedScaleComponent", [("Scales", scale)])
            if offset.any():
                self._add_offset(name, offset)

    def _fold(self, node: ComponentNode, source: str, scale: np.ndarray, offset: np.ndarray) -> None:
        linear = self._scalable(source, node.name, bool((scale > 0).all()))
        if linear is None or not self._scale_rows(linear, scale, offset if linear == source else None):
            return
        self.bypass(node.name, source)
        if linear != source and offset.any():
            self.offsets[source] = offset

    def _scalable(self, source: str, consumer: str, positive: bool) -> str | None:
        """The linear node whose rows may take the scale that ``consumer`` applies to ``source``, if there is one."""
        node = self.nodes[source]
        alone = [other.name for other in self.consumers(source)] == [consumer]
        if not isinstance(node, ComponentNode) or not alone or source in self.recurrent:
            return None
        component = self.components[source]
        if is_linear(component):
            return source
        through_relu = positive and component.type == "RectifiedLinearComponent" and isinstance(node.input, NodeName)
        if not through_relu or source in self.offsets:
            return None
        assert isinstance(node.input, NodeName)
        return self._scalable(node.input.node, source, positive)

    def _scale_rows(self, name: str, scale: np.ndarray, offset: np.ndarray | None) -> bool:
        """Scales a linear component's rows, and adds to its bias; False where its rows stand for several scales."""
        component = self.components[name]
        weight = weight_of(component).astype(np.float64)
        rows = len(weight)

        def per_row(values: np.ndarray) -> np.ndarray | None:
            # A convolution's row is one filter for all heights.
            table = values.reshape(-1, rows)
            return table[0] if (table == table[0]).all() else None

        row_scale = per_row(scale)
        row_offset = per_row(offset) if offset is not None else np.zeros(rows)
        if row_scale is None or row_offset is None:
            return False
        bias = bias_of(component) * row_scale + row_offset
        self.components[name] = set_parameters(component, weight * row_scale[:, None], bias)
        return True

    def merge_affine(self) -> None:
        """Multiplies an affine map into the one that follows it, where that makes no more parameters.

        A fixed transform of the features (LDA) is sensitive at low widths, and its product with the next layer is not.
        """
        for name in list(self.nodes):
            node = self.nodes.get(name)
            if not isinstance(node, ComponentNode) or not isinstance(node.input, NodeName) or name in self.recurrent:
                continue
            first, source = self.nodes[node.input.node], node.input.node
            if not (self._is_affine(node) and self._is_affine(first)) or len(self.consumers(source)) != 1:
                continue
            assert isinstance(first, ComponentNode)
            below, above = (weight_of(self.components[key]).astype(np.float64) for key in (source, name))
            if above.shape[0] * below.shape[1] > above.size + below.size:
                continue
            bias = above @ bias_of(self.components[source]) + bias_of(self.components[name])
            self.components[name] = set_parameters(self.components[name], above @ below, bias)
            self.nodes[name] = replace(node, input=first.input)
            del self.nodes[source], self.components[source]

    def _is_affine(self, node: Node) -> bool:
        """Whether a node is one matrix product, at one time."""
        if not isinstance(node, ComponentNode) or node.name in self.recurrent:
            return False
        return self.components[node.name].type in AFFINE_TYPES

    def name_sums(self) -> None:
        """Gives sums and multiples that a linear layer reads a node of their own, which can lie on an integer grid."""
        for node in list(self.nodes.values()):
            if isinstance(node, ComponentNode) and is_linear(self.components[node.name]):
                added: list[ComponentNode] = []
                reader = replace(node, input=self._with_sums_named(node.input, node.name, added))
                nodes: dict[str, Node] = {}
                for key, other in self.nodes.items():
                    if key == node.name:
                        nodes.update({sum_node.name: sum_node for sum_node in added})
                        other = reader
                    nodes[key] = other
                self.nodes = nodes

    def _with_sums_named(self, descriptor: Descriptor, reader: str, added: list[ComponentNode]) -> Descriptor:
        """A descriptor with nodes instead of what it computes; these are put into ``added``."""
        if not isinstance(descriptor, Sum | Scale):
            parts = [self._with_sums_named(part, reader, added) for part in descriptor.sources()]
            return with_sources(descriptor, parts)
        same = [node for node in added if node.input == descriptor]
        if not same:
            name = f"{reader}.sum{len(added) + 1}"
            dim = descriptor.dim(self.finish("").node_dim)
            self.components[name] = Component("NoOpComponent", [("Dim", dim), ("BackpropScale", np.float32(1.0))])
            same = [ComponentNode(name, name, descriptor)]
            added.extend(same)
        return NodeName(same[0].name)

    def settle_offsets(self) -> dict[str, np.ndarray]:
        """Carries offsets to the linear components that take them in; the others are added by a node of their own.

        Returns:
            for each linear component what its input lacks.
        """
        for name in list(self.offsets):
            if not self._absorbed(name):
                self._materialize(name)
        dim = self.finish("").node_dim
        for node in list(self.nodes.values()):
            if self._is_sum(node) and any(leaf in self.offsets for leaf in sources(node)):
                assert isinstance(node, ComponentNode)
                self.offsets[node.name] = self._offset_of(node.input, dim)
        return {
            node.name: self._input_offset(node, dim)
            for node in self.nodes.values()
            if isinstance(node, ComponentNode) and is_linear(self.components[node.name])
            if any(leaf in self.offsets for leaf in sources(node))
        }

    def _is_sum(self, node: Node) -> bool:
        return isinstance(node, ComponentNode) and self.components[node.name].type == "NoOpComponent"

    def _absorbed(self, name: str, depth: int = 0) -> bool:
        """Whether every consumer takes a node's offset in, or carries it to others that do."""
        for consumer in self.consumers(name):
            if not isinstance(consumer, ComponentNode) or not _is_plain(consumer.input):
                return False
            component = self.components[consumer.name]
            linear = is_linear(component) and component.type not in HEIGHT_TYPES
            carried = self._is_sum(consumer) and consumer.name not in self.recurrent and depth < len(self.nodes)
            if not linear and not (carried and self._absorbed(consumer.name, depth + 1)):
                return False
        return True

    def _materialize(self, name: str) -> None:
        """Adds a node's offset by a node of its own."""
        self._add_offset(name, self.offsets.pop(name).astype(np.float32))

    def _add_offset(self, name: str, offset: np.ndarray) -> None:
        """Adds to a node's values, by a node of its own that its consumers read instead; offset: (dim,) float32."""
        key = f"{name}.offset"
        added = ComponentNode(key, key, NodeName(name))
        self.redirect(name, added)
        self.components[key] = Component("FixedBiasComponent", [("Bias", offset)])
        nodes: dict[str, Node] = {}
        for node in self.nodes.values():
            nodes[node.name] = node
            if node.name == name:
                nodes[key] = added
        self.nodes = nodes

    def _offset_of(self, descriptor: Descriptor, dim: Callable[[str], int]) -> np.ndarray:
        """What a descriptor's value lacks: (dim,) float64; ``dim`` tells a node's dimension."""
        match descriptor:
            case NodeName(node):
                return self.offsets[node] if node in self.offsets else np.zeros(dim(node))
            case Append(parts):
                return np.concatenate([self._offset_of(part, dim) for part in parts])
            case Sum(parts):
                return np.sum([self._offset_of(part, dim) for part in parts], axis=0)
            case Scale(source, scale):
                return scale * self._offset_of(source, dim)
            case Offset(source) | Round(source) | ReplaceIndex(source):
                return self._offset_of(source, dim)
        return np.zeros(descriptor.dim(dim))

    def _input_offset(self, node: ComponentNode, dim: Callable[[str], int]) -> np.ndarray:
        """What the columns of a linear component lack; a TdnnComponent's repeat for each time offset."""
        offset = self._offset_of(node.input, dim)
        columns = weight_of(self.components[node.name]).shape[1]
        return np.tile(offset, columns // len(offset))


def _is_plain(descriptor: Descriptor) -> bool:
    """Whether a descriptor is linear and there at all times: a constant added to a leaf comes out as a constant."""
    plain = isinstance(descriptor, NodeName | Append | Sum | Scale | Offset | Round | ReplaceIndex)
    return plain and all(_is_plain(source) for source in descriptor.sources())
