"""A torch network with code that cannot be traced: a file holds its layers, and who reads it brings the network."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.formats.container import Container, Tensors
from kaldi_quant.formats.fields import Fields
from kaldi_quant.formats.torch_graph.description import encoded_nodes
from kaldi_quant.formats.torch_graph.example import decoded_example, encoded_example
from kaldi_quant.formats.torch_graph.modules import decoded_tensor, encoded_tensor
from kaldi_quant.quant.distance import DISTANCES
from kaldi_quant.quant.graph import products
from kaldi_quant.torchnn.data import digest_of
from kaldi_quant.torchnn.host import TorchHost, TorchSource

_log = logging.getLogger(__name__)


def encoded_layers(host: TorchHost, without: Collection[str], tensors: Tensors) -> dict[str, Any]:
    """What there is to know of a network beside its code.

    Args:
        host: whose biases have all that inputs lack.
        without: the layers whose parameters are left out.
        tensors: takes those of the other layers.
    """
    region = host.region
    layers = {name: layer for name, layer in region.layers.items() if name not in without}
    return {
        "kind": region.kind,
        "code": _digest(region.untraced_code().encode()),
        "reasons": region.reasons,
        "tensors": _other_tensors(host),
        "example": encoded_example(host.example, tensors),
        "nodes": encoded_nodes(host.description),
        "layers": {
            name: {part: encoded_tensor(f"{name}.{part}", value, tensors) for part, value in layer.named_parameters()}
            for name, layer in layers.items()
        },
        "distance": host.distance.name,
        "folded": host.folded,
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _other_tensors(host: TorchHost) -> str:
    """What tells the tensors that no layer has from others."""
    of_layers = {id(value) for layer in host.region.layers.values() for value in layer.parameters()}
    found = hashlib.sha256()
    for name, value in host.region.state_dict(keep_vars=True).items():
        if id(value) not in of_layers:
            found.update(name.encode() + digest_of(value))
    return found.hexdigest()


def decoded_layers(container: Container, fields: Fields, network: nn.Module | None) -> TorchHost:
    """The network that was brought, prepared as that of the file was, with the file's float layers.

    Args:
        container: the file.
        fields: from ``encoded_layers``.
        network: the float network.

    Raises:
        UsageError: there is none.
        ModelError: it is another one than that of the file.
        FormatError: the file is malformed.
    """
    kind, reasons = fields.take("kind", str), fields.take("reasons", dict)
    try:
        example = decoded_example(container, fields.object("example"))
        distance = DISTANCES[fields.take("distance", str)]()
        layers = {
            name: {part: decoded_tensor(f"{name}.{part}", found, container.take) for part, found in layer.items()}
            for name, layer in fields.take("layers", dict).items()
        }
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise FormatError(container.path, None, f"its network is malformed: {error}") from error
    if network is None:
        why = "; ".join(f"{path or kind}: {reason}" for path, reason in reasons.items())
        raise ModelError(
            f"{container.path} holds the layers of a {kind} and not its code, which cannot be traced ({why[:200]}): "
            "give the float network, too, as load(path, network=...)"
        )
    source = TorchSource(network, example.args or dict(example.kwargs), distance)
    host = source.prepare(fields.take("folded", bool)).complete()
    code, others, nodes = fields.take("code", str), fields.take("tensors", str), fields.take("nodes", list)
    if encoded_nodes(host.description) != nodes or not set(layers) <= set(products(host.nodes)):
        raise ModelError(f"{container.path}: the network that was given has other layers than the {kind} of the file")
    if _other_tensors(host) != others:
        raise ModelError(
            f"{container.path}: the network that was given has other values than the {kind} of the file, in what is no "
            "layer: load the checkpoint that was quantized"
        )
    if _digest(host.region.untraced_code().encode()) != code:
        _log.warning("%s: the code of %s is another one than when it was quantized", container.path, kind)
    return host.with_parameters({name: _parameters(container, host, name, found) for name, found in layers.items()})


def _parameters(container: Container, host: TorchHost, name: str, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    weight = found.get("weight", torch.zeros(0))
    bias = found.get("bias", torch.zeros(len(weight)))
    if weight.shape != host.weight(name).shape or bias.shape != weight.shape[:1]:
        container.fail(f"the layer {name[:80]} has other sizes than the network's")
    return weight, bias
