"""``If`` whose condition is known: PyTorch writes it where it does not know an axis that the file's reader does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaldi_quant.backends.onnx.reading import all_nodes

if TYPE_CHECKING:
    import onnx


def take_branch(graph: onnx.GraphProto, node: onnx.NodeProto, condition: bool) -> None:
    """Puts one of the graphs of an ``If`` in its place.

    Args:
        graph: that it is in; it is changed.
        node: the ``If``.
        condition: that it has.
    """
    import onnx
    from onnx import helper

    wanted = "then_branch" if condition else "else_branch"
    branch = onnx.GraphProto()
    branch.CopyFrom(next(each.g for each in node.attribute if each.name == wanted))
    made = {name for inner in all_nodes(branch) for name in inner.output} | {each.name for each in branch.initializer}
    # Names within may be those of another graph within.
    names = {name: f"{node.output[0]}/{name}" for name in made if name}
    for inner in all_nodes(branch):
        inner.input[:] = [names.get(name, name) for name in inner.input]
        inner.output[:] = [names.get(name, name) for name in inner.output]
    for tensor in branch.initializer:
        tensor.name = names[tensor.name]
    results = [names.get(each.name, each.name) for each in branch.output]
    ends = [helper.make_node("Identity", [one], [other]) for one, other in zip(results, node.output, strict=True)]
    place = list(graph.node).index(node)
    nodes = [*graph.node[:place], *branch.node, *ends, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(branch.initializer)
