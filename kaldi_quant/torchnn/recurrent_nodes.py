"""What a recurrence is for the quantizer: a product that reads the node of its own hidden states.

The call of a recurrence in a traced graph stands for two nodes. ``hh``, the recurrent product, reads ``h``; ``h``, the
hidden states of all times, is computed in float from the two products and an initial state. What is remembered in float
after the last time is a node of its own where a network uses it: ``c`` of LSTMs, ``state`` of GRUs.
"""

from __future__ import annotations

import operator

from torch import fx

from kaldi_quant.quant.graph import Node, Read
from kaldi_quant.torchnn.region import Region, joined


def recurrent_call(region: Region, node: fx.Node) -> fx.Node | None:
    """The call of a recurrence that a node is, or is a result of."""
    if region.recurrence_of(node) is not None:
        return node
    source = node.args[0] if node.target is operator.getitem else None
    if not isinstance(source, fx.Node) or region.recurrence_of(source) is None:
        return None
    return source if isinstance(source.meta["value"], tuple) else None


def of_direction(region: Region, call: fx.Node) -> str:
    """The path, in the whole network, of the layer's direction that a recurrence is of."""
    path = str(call.target).removeprefix("original").removeprefix(".")
    return joined(region.path, path.rpartition(".")[0])


def recurrent_nodes_of(
    region: Region, call: fx.Node, hidden: str, product: str, layer: str, reads: tuple[Read, ...]
) -> tuple[Node, Node]:
    """The recurrent product and the hidden states; the call is told the name of these.

    Args:
        region: of the call.
        call: of a recurrence.
        hidden: the name of the hidden states.
        product: that of the product.
        layer: that of the layer, the product's own at its first use.
        reads: what the call reads.
    """
    recurrence = region.recurrence_of(call)
    assert recurrence is not None
    rows, size = recurrence.layer.weight.shape
    call.kwargs = {**call.kwargs, "node": hidden}
    # It reads the states of other times.
    own = Node(product, "product", (Read(hidden, whole=False),), rows, layer="" if product == layer else layer)
    terms = [*(Read(read.node, whole=False) for read in reads), Read(product, whole=False)]
    return own, Node(hidden, "other", tuple(terms), size)


def what_is_recurrent(region: Region, call: fx.Node) -> str:
    """What of a recurrence is computed in float."""
    recurrence = region.recurrence_of(call)
    assert recurrence is not None
    return f"what {recurrence.mode} cells compute of their products"


def name_of_memory(region: Region, call: fx.Node) -> str:
    """What the node is called of what is remembered after the last time."""
    recurrence = region.recurrence_of(call)
    assert recurrence is not None
    return "c" if recurrence.cell.remembers else "state"
