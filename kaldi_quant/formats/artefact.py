"""The integer model as one file: packed integers, their grids, the graph, the transition model, how it was made.

It is read without any other file, and nothing in it is executed. Its tensors are named in ``layer_tensors``; besides
there are ``network``, Kaldi's binary form of the network without the weights that are integers, compressed by zlib;
``transition_model``, likewise; ``priors``, (num_pdfs,) float32; and the checksum. Its description has the keys
``layers``, ``activations``, ``float_layers``, ``context`` and ``record``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from kaldi_quant.formats.container import Container, read_container, write_container
from kaldi_quant.formats.fields import Fields
from kaldi_quant.formats.layer_tensors import (
    StoredLayer,
    activation_tensors,
    complete_layer,
    layer_tensors,
    take_activations,
    take_layer,
)
from kaldi_quant.formats.network_without_weights import (
    read_network,
    read_transition_model,
    write_network,
    write_transition_model,
)
from kaldi_quant.kaldi.model import AmNnetSimple, Model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.preparation.prepared import PreparedNetwork, nnet_of
from kaldi_quant.quant.graph import QuantGraph, products
from kaldi_quant.quant.network import QuantizedNetwork

_LARGEST_CONTEXT = 1 << 20


@dataclass
class Artefact:
    """What an integer model's file holds.

    Args:
        network: the integer network.
        model: the transition model and priors, around the dequantized network.
        record: how it was made.
    """

    network: QuantizedNetwork
    model: Model
    record: dict[str, Any]


def save(path: str | os.PathLike[str], network: QuantizedNetwork, model: Model, record: dict[str, Any]) -> int:
    """Writes an integer model under its final name at once.

    Args:
        path: of the file.
        network: the integer network.
        model: that it was made from, for its transition model, priors and context.
        record: how it was made, anything that JSON can hold.

    Returns:
        the file's size in the file system, in bytes.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
        ModelError: the network has parameters that are not finite.
    """
    tensors, activations = activation_tensors(network.activations)
    content: dict[str, Any] = {"layers": {}, "activations": activations, "float_layers": network.float_layers}
    for name, layer in network.layers.items():
        found, content["layers"][name] = layer_tensors(name, layer)
        tensors.update(found)
    tensors["network"] = write_network(nnet_of(network.dequantized()), network.layers)
    if model.transition_model is not None:
        tensors["transition_model"] = write_transition_model(model.transition_model)
    if isinstance(model.network, AmNnetSimple):
        content["context"] = {"left": model.network.left_context, "right": model.network.right_context}
        tensors["priors"] = model.priors
    return write_container(path, tensors, {**content, "record": record})


def load(path: str | os.PathLike[str]) -> Artefact:
    """Reads an integer model.

    Raises:
        FormatError: the file is missing, truncated, changed, of a newer format, or contradicts itself.
        ModelError: its graph contradicts itself or the components.
    """
    container = read_container(path)
    fields = Fields(container.path, "its description", container.content)
    stored = {name: take_layer(container, name, layer) for name, layer in fields.objects("layers").items()}
    sizes = {name: layer.weight.integers.shape for name, layer in stored.items()}
    nnet = read_network(container.take("network", "uint8"), sizes, container.path)
    network = _network(container, fields, nnet, stored)
    model = _model(container, fields, nnet_of(network.host))
    record = fields.take("record", dict)
    fields.finish()
    container.finish()
    return Artefact(network, model, record)


def _network(container: Container, fields: Fields, nnet: Nnet, stored: dict[str, StoredLayer]) -> QuantizedNetwork:
    host = PreparedNetwork.of(nnet)
    float_layers = fields.take("float_layers", dict)
    reasons = all(isinstance(reason, str) and reason for reason in float_layers.values())
    if not reasons or set(stored) | set(float_layers) != set(products(host.nodes)) or set(stored) & set(float_layers):
        container.fail("its float layers, each with a reason, should be the linear layers that are not quantized")
    graph = QuantGraph(host.nodes, [name for name, layer in stored.items() if layer.dynamic is None])
    grids = take_activations(container, fields.object("activations"), graph)
    layers = {name: complete_layer(container, name, layer, host, graph, grids) for name, layer in stored.items()}
    network = QuantizedNetwork(host, layers, grids, float_layers)
    return QuantizedNetwork(network.dequantized(), layers, grids, float_layers)


def _model(container: Container, fields: Fields, nnet: Nnet) -> Model:
    if not fields.has("context"):
        return Model(nnet, None, True, container.path)
    context = fields.object("context")
    left, right = (context.int_between(name, -_LARGEST_CONTEXT, _LARGEST_CONTEXT) for name in ("left", "right"))
    context.finish()
    transition_model = read_transition_model(container.take("transition_model", "uint8"), container.path)
    priors = container.take("priors", "float32")
    if len(priors) not in (0, nnet.node_dim("output")):
        container.fail(f"it has {len(priors)} priors for {nnet.node_dim('output')} outputs")
    return Model(AmNnetSimple(nnet, left, right, priors), transition_model, True, container.path)
