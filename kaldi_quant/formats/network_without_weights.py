"""A network's graph and components in Kaldi's binary form, compressed, without the weights that are integers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch

from kaldi_quant.errors import FormatError
from kaldi_quant.formats.compression import compressed, decompressed
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.kaldi.reader import BinaryReader
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.writer import BinaryWriter
from kaldi_quant.nnet3.preparation.linear_components import bias_of, is_linear, set_parameters, weight_of


def write_network(nnet: Nnet, without: Iterable[str]) -> np.ndarray:
    """A network as bytes.

    Args:
        nnet: the network.
        without: the linear components whose weights and biases are left out.

    Returns:
        (n,) uint8.
    """
    emptied = {name: _emptied(nnet.components[name]) for name in without}
    writer = BinaryWriter()
    replace(nnet, components={**nnet.components, **emptied}).write(writer)
    return compressed(writer.getvalue())


def _emptied(component: Component) -> Component:
    # The bias keeps its length, which tells a component that has one from a component that has none.
    return set_parameters(component, np.zeros((0, 0)), np.zeros_like(bias_of(component)))


def read_network(packed: np.ndarray, sizes: Mapping[str, torch.Size], path: str) -> Nnet:
    """A network whose components are named like their only nodes.

    Args:
        packed: (n,) uint8, from ``write_network``.
        sizes: (rows, columns) of the weights that were left out, for which zeros stand.
        path: of the file.

    Raises:
        FormatError: it is malformed, or has no such components.
        ModelError: the graph contradicts itself or the components.
    """
    reader = reader_of(packed, f"{path} (network)")
    nnet = Nnet.read_unchecked(reader, path)
    if not reader.at_end():
        reader.fail("the network ends here, but there is more")
    names = {node.name for node in nnet.nodes_of(ComponentNode) if node.component == node.name}
    odd = set(nnet.components) ^ names or {node.name for node in nnet.nodes_of(ComponentNode)} - names
    if odd:
        raise FormatError(path, None, f"the network has {min(odd)[:80]!r}, a node or component without its counterpart")
    for name, size in sizes.items():
        component = nnet.components.get(name)
        if component is None or not is_linear(component) or weight_of(component).size:
            raise FormatError(path, None, f"the quantized layer {name[:80]!r} is no linear component without weights")
        # One zero for all weights: they are not looked at.
        zeros = np.broadcast_to(np.float32(0), tuple(size))
        nnet.components[name] = set_parameters(component, zeros, bias_of(component))
    nnet.check()
    return nnet


def write_transition_model(transition_model: TransitionModel) -> np.ndarray:
    """A transition model as bytes: (n,) uint8, a seventh of what Kaldi's binary form takes."""
    writer = BinaryWriter()
    transition_model.write(writer)
    return compressed(writer.getvalue())


def read_transition_model(packed: np.ndarray, path: str) -> TransitionModel:
    """The transition model that was written.

    Raises:
        FormatError: it is malformed.
    """
    reader = reader_of(packed, f"{path} (transition model)")
    transition_model = TransitionModel.read(reader)
    if not reader.at_end():
        reader.fail("the transition model ends here, but there is more")
    return transition_model


def reader_of(packed: np.ndarray, path: str) -> BinaryReader:
    """Reads compressed bytes in Kaldi's binary form."""
    data, header = decompressed(packed, path), BinaryWriter.header
    if not data.startswith(header):
        raise FormatError(path, 0, f"expected Kaldi's binary form, found {data[:2]!r}")
    return BinaryReader(data[len(header) :], path, start=len(header))
