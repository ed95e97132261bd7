"""What nodes read, and nodes that read others."""

import pytest

from kaldi_quant.kaldi.descriptor import parse_descriptor
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode, InputNode, Node, OutputNode
from kaldi_quant.kaldi.node_sources import redirected, sources


def component(name: str, reads: str) -> ComponentNode:
    return ComponentNode(name, "relu", parse_descriptor(reads))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (InputNode("a", 3), []),
        (component("x", "Append(a, Sum(b, Offset(a, 1)), Const(1, 2))"), ["a", "b", "a"]),
        (OutputNode("x", parse_descriptor("a"), "linear"), ["a"]),
        (DimRangeNode("x", "a", 1, 2), ["a"]),
    ],
)
def test_sources(node: Node, expected: list[str]) -> None:
    assert sources(node) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (InputNode("a", 3), InputNode("a", 3)),
        (
            component("x", "Append(a, Scale(2, IfDefined(Offset(b, -3))), c, ReplaceIndex(d, t, 0))"),
            component("x", "Append(b, Scale(2, IfDefined(Offset(new, -3))), some, ReplaceIndex(d, t, 0))"),
        ),
        (component("a", "Sum(a, Const(1, 3))"), component("a", "Sum(b, Const(1, 3))")),
        (OutputNode("x", parse_descriptor("b"), "quadratic"), OutputNode("x", parse_descriptor("new"), "quadratic")),
        (DimRangeNode("x", "a", 1, 2), DimRangeNode("x", "b", 1, 2)),
        (DimRangeNode("x", "c", 1, 2), DimRangeNode("x", "below", 5, 2)),
        (DimRangeNode("x", "d", 1, 2), DimRangeNode("x", "d", 1, 2)),
    ],
)
def test_all_are_redirected_at_once(node: Node, expected: Node) -> None:
    """So that what comes in the place of one node is not replaced for another."""
    instead = {"a": component("b", "input"), "b": component("new", "input"), "c": DimRangeNode("some", "below", 4, 6)}
    assert redirected(node, instead) == expected
