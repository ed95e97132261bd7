"""The integer model as one file: packed integers, their grids, the graph, how it was made.

It is read without any other file, and nothing in it is executed. Its tensors are named in ``layer_tensors``. Its
description has the keys ``layers``, ``activations``, ``float_layers`` and ``record``, ``float_matmuls`` where there
are any, and what the kind of network has:

- of Kaldi the tensors ``network``, Kaldi's binary form of the network without the weights that are integers,
  compressed by zlib; ``transition_model``, likewise; ``priors``, (num_pdfs,) float32; and the key ``context``;
- of torch.nn the key ``torch_network``, the traced graph as data (``torch_graph``), and tensors whose names begin with
  ``network/``; where it has code that cannot be traced, the key ``torch_layers``, and who reads it brings the code.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.formats.container import Container, Tensors, read_container, write_container
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
from kaldi_quant.formats.torch_graph.code import decoded_layers, encoded_layers
from kaldi_quant.formats.torch_graph.network import decoded_network, encoded_network
from kaldi_quant.kaldi.model import AmNnetSimple, Model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.preparation.prepared import PreparedNetwork, nnet_of
from kaldi_quant.quant.distance import DISTANCES
from kaldi_quant.quant.graph import QuantGraph, matmuls, products
from kaldi_quant.quant.host import Host
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.host import TorchHost
from kaldi_quant.torchnn.tracing import first_line

_LARGEST_CONTEXT = 1 << 20
_TORCH, _TORCH_LAYERS = "torch_network", "torch_layers"

_log = logging.getLogger(__name__)


@dataclass
class TorchArtefact:
    """What the file of a torch network holds.

    Args:
        network: the integer network.
        record: how it was made.
    """

    network: QuantizedNetwork
    record: dict[str, Any]


@dataclass
class Artefact:
    """What the file of a Kaldi model holds.

    Args:
        network: the integer network.
        model: the transition model and priors, around the dequantized network.
        record: how it was made.
    """

    network: QuantizedNetwork
    model: Model
    record: dict[str, Any]


def save(path: str | os.PathLike[str], network: QuantizedNetwork, model: Model, record: dict[str, Any]) -> int:
    """Writes an integer model of Kaldi under its final name at once.

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
    tensors, content = _quantization(network)
    tensors["network"] = write_network(nnet_of(network.dequantized()), network.layers)
    if model.transition_model is not None:
        tensors["transition_model"] = write_transition_model(model.transition_model)
    if isinstance(model.network, AmNnetSimple):
        content["context"] = {"left": model.network.left_context, "right": model.network.right_context}
        tensors["priors"] = model.priors
    return write_container(path, tensors, {**content, "record": record})


def save_torch(path: str | os.PathLike[str], network: QuantizedNetwork, record: dict[str, Any]) -> int:
    """Writes an integer network of torch under its final name at once; arguments and result as of ``save``.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
        ModelError: the network has parameters that are not finite, or a distance of outputs that ``DISTANCES`` does not
            have.
        UsageError: it is no network of torch.
    """
    host = network.dequantized()
    if not isinstance(host, TorchHost):
        raise UsageError(f"{os.fspath(path)}: only a network of torch.nn is written so")
    if DISTANCES.get(host.distance.name) is not type(host.distance):
        raise ModelError(f"{os.fspath(path)}: the distance of outputs, {host.distance.name}, is not in DISTANCES")
    tensors, content = _quantization(network)
    own: Tensors = {}
    try:
        content[_TORCH] = encoded_network(host, network.layers, own)
    except ModelError as error:
        _log.info("%s: load() will need the float network, too, as %s", os.fspath(path), error)
        own = {}
        content[_TORCH_LAYERS] = encoded_layers(host, network.layers, own)
    return write_container(path, {**tensors, **own}, {**content, "record": record})


def _quantization(network: QuantizedNetwork) -> tuple[Tensors, dict[str, Any]]:
    """What files of all kinds of networks have: tensors, and their description."""
    tensors, activations = activation_tensors(network.activations)
    content: dict[str, Any] = {"layers": {}, "activations": activations, "float_layers": network.float_layers}
    if network.float_matmuls:
        content["float_matmuls"] = network.float_matmuls
    for name, layer in network.layers.items():
        found, content["layers"][name] = layer_tensors(name, layer)
        tensors.update(found)
    return tensors, content


def load(path: str | os.PathLike[str]) -> Artefact:
    """Reads an integer model of Kaldi.

    Raises:
        FormatError: the file is missing, truncated, changed, of a newer format, contradicts itself, or holds a network
            of torch.
        ModelError: its graph contradicts itself or the components.
    """
    found = load_any(path)
    if isinstance(found, TorchArtefact):
        raise FormatError(os.fspath(path), None, "it holds a network of torch.nn, and a model of Kaldi is needed here")
    return found


def load_any(path: str | os.PathLike[str], code: nn.Module | None = None) -> Artefact | TorchArtefact:
    """Reads an integer model of either kind.

    Args:
        path: of the file.
        code: the float network, which is needed where its code cannot be traced, and else not looked at.

    Raises:
        FormatError: the file is missing, truncated, changed, of a newer format, or contradicts itself.
        ModelError: its graph contradicts itself or the components; or ``code`` is needed, or another network.
    """
    container = read_container(path)
    fields = Fields(container.path, "its description", container.content)
    stored = {name: take_layer(container, name, layer) for name, layer in fields.objects("layers").items()}
    found: Artefact | TorchArtefact
    if fields.has(_TORCH) or fields.has(_TORCH_LAYERS):
        host = _torch_host(container, fields, code)
        for name, layer in stored.items():
            _check_sizes(container, host, name, layer)
        try:
            network = _network(container, fields, host, stored)
        except (RuntimeError, LookupError, StopIteration) as error:
            raise FormatError(container.path, None, f"its nodes contradict its layers: {first_line(error)}") from error
        found = TorchArtefact(network, fields.take("record", dict))
    else:
        sizes = {name: layer.weight.integers.shape for name, layer in stored.items()}
        nnet = read_network(container.take("network", "uint8"), sizes, container.path)
        network = _network(container, fields, PreparedNetwork.of(nnet), stored)
        model = _model(container, fields, nnet_of(network.host))
        found = Artefact(network, model, fields.take("record", dict))
    fields.finish()
    container.finish()
    return found


def _torch_host(container: Container, fields: Fields, code: nn.Module | None) -> TorchHost:
    if fields.has(_TORCH):
        return decoded_network(container, fields.object(_TORCH))
    return decoded_layers(container, fields.object(_TORCH_LAYERS), code)


def _check_sizes(container: Container, host: TorchHost, name: str, stored: StoredLayer) -> None:
    found = host.region.layers.get(name)
    weight = stored.weight
    if found is None or (found.weight.shape, found.groups) != (weight.integers.shape, weight.groups):
        container.fail(f"the layer {name[:80]} is not one of the network's, or has other sizes than there")


def _network(container: Container, fields: Fields, host: Host, stored: dict[str, StoredLayer]) -> QuantizedNetwork:
    float_layers, float_matmuls = fields.take("float_layers", dict), fields.take("float_matmuls", dict, {})
    reasons = all(
        isinstance(reason, str) and reason for found in (float_layers, float_matmuls) for reason in found.values()
    )
    if not reasons or set(stored) | set(float_layers) != set(products(host.nodes)) or set(stored) & set(float_layers):
        container.fail("its float layers, each with a reason, should be the linear layers that are not quantized")
    if not set(float_matmuls) <= set(matmuls(host.nodes)):
        container.fail("its products of two values in float are not the network's")
    in_integers = [name for name in matmuls(host.nodes) if name not in float_matmuls]
    graph = QuantGraph(host.nodes, [name for name, layer in stored.items() if layer.is_static], in_integers)
    grids = take_activations(container, fields.object("activations"), graph)
    layers = {name: complete_layer(container, name, layer, host, graph, grids) for name, layer in stored.items()}
    network = QuantizedNetwork(host, layers, grids, float_layers, float_matmuls)
    return replace(network, host=network.dequantized())


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
