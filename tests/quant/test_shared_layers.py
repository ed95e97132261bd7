"""Layers that are used several times: one weight, and one grid for all that they read."""

from dataclasses import replace

from kaldi_quant.quant.graph import Destination, Node, Nodes, QuantGraph, Read, is_rectified, products, uses
from kaldi_quant.quant.layer_kinds import layer_kinds


def nodes() -> dict[str, Node]:
    """Features → first → relu → shared → relu → shared → relu → last."""
    found = [
        Node("feats", "input", (), 40),
        Node("first", "product", (Read("feats"),), 20),
        Node("relu1", "relu", (Read("first"),), 20),
        Node("shared", "product", (Read("relu1"),), 20),
        Node("relu2", "relu", (Read("shared"),), 20),
        Node("shared:2", "product", (Read("relu2"),), 20, layer="shared"),
        Node("relu3", "relu", (Read("shared:2"),), 20),
        Node("last", "product", (Read("relu3"),), 4),
        Node("output", "output", (Read("last"),), 4),
    ]
    return {node.name: node for node in found}


def graph_of(nodes: Nodes) -> QuantGraph:
    return QuantGraph(nodes, products(nodes))


def test_a_layer_is_one_however_often_it_is_used() -> None:
    assert products(nodes()) == ["first", "shared", "last"]
    assert [node.name for node in uses(nodes(), "shared")] == ["shared", "shared:2"]
    assert layer_kinds(nodes()) == {"first": {"input"}, "shared": {"hidden"}, "last": {"output"}}


def test_all_that_a_layer_reads_shares_a_grid() -> None:
    graph = graph_of(nodes())
    assert graph.inputs_of("shared") == ["relu1", "relu2"]
    assert [group for group in graph.groups() if len(group) > 1] == [["relu1", "relu2"]]
    assert graph.readers["relu1"] == graph.readers["relu2"] == ["shared"]


def test_a_layer_with_several_uses_gives_floats() -> None:
    graph = graph_of(nodes())
    assert graph.destination("first") == Destination("relu1", relu=True)
    assert graph.destination("shared") is None


def test_every_use_counts_for_what_a_layer_is() -> None:
    changed = nodes()
    assert is_rectified(changed, "shared")
    changed["relu3"] = replace(changed["relu3"], op="other")
    assert not is_rectified(changed, "shared")
    changed["shared:2"] = replace(changed["shared:2"], reads=(Read("feats"),))
    assert layer_kinds(changed)["shared"] == {"input"}
    changed["output"] = replace(changed["output"], reads=(Read("shared:2"),))
    assert layer_kinds(changed)["shared"] == {"input", "output"}


def test_an_input_whose_columns_are_mixed_has_one_scale() -> None:
    changed = nodes()
    assert graph_of(changed).is_per_column("feats")
    changed["feats"] = replace(changed["feats"], by_column=False)
    assert not graph_of(changed).is_per_column("feats")
