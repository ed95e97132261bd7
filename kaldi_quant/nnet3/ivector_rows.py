"""Networks that read one i-vector, rewritten to read one for each frame.

Kaldi's computation chunk by chunk gives a network a further i-vector for each chunk: ``ReplaceIndex(ivector, t, 0)``
becomes ``Round(ivector, period)``. Here rows of i-vectors are given for all times, those of a period being equal.

Source: ``ModifyNnetIvectorPeriod`` in ``src/nnet3/nnet-compile-looped.cc``.
"""

from __future__ import annotations

from dataclasses import replace

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.descriptor import Descriptor, NodeName, ReplaceIndex, with_sources
from kaldi_quant.kaldi.nnet import DimRangeNode, InputNode, Nnet, Node

_IVECTOR = "ivector"


def with_ivector_rows(nnet: Nnet) -> Nnet:
    """The network that reads the i-vector of a frame where it read that of time 0.

    Raises:
        ModelError: another node is read at one time, or the i-vector at others than 0; names the node.
    """
    return Nnet.of_nodes([_rewritten(node, nnet.path) for node in nnet.nodes.values()], nnet.components, nnet.path)


def _rewritten(node: Node, path: str) -> Node:
    if isinstance(node, InputNode):
        return node
    if isinstance(node, DimRangeNode):
        if node.input_node == _IVECTOR:
            raise _unusual(node.name, path, f"columns of {_IVECTOR}")
        return node
    return replace(node, input=_read(node.input, node.name, path))


def _read(descriptor: Descriptor, name: str, path: str) -> Descriptor:
    if isinstance(descriptor, ReplaceIndex):
        leaves = {leaf.node for leaf in descriptor.leaves()}
        if leaves != {_IVECTOR} or (descriptor.variable, descriptor.value) != ("t", 0):
            raise _unusual(name, path, str(descriptor))
        return descriptor.source
    if descriptor == NodeName(_IVECTOR):
        raise _unusual(name, path, str(descriptor))
    return with_sources(descriptor, [_read(source, name, path) for source in descriptor.sources()])


def _unusual(name: str, path: str, what: str) -> ModelError:
    return ModelError(
        f"{path}: the node {name} reads {what}: chunk by chunk only ReplaceIndex({_IVECTOR}, t, 0) can be read"
    )
