"""Which nodes lie on grids, what is fused with what, and the kinds of layers."""

from pathlib import Path

import pytest

from kaldi_quant.kaldi.model import read_model
from kaldi_quant.nnet3.preparation.prepared import prepare
from kaldi_quant.quant.graph import Destination, QuantGraph, products
from kaldi_quant.quant.layer_kinds import layer_kinds
from tests.references import NNET3, load, model_file


def graph_of(example: Path, name: str) -> QuantGraph:
    nodes = prepare(read_model(example / "exp/chain" / name / "final.mdl").nnet).nodes
    return QuantGraph(nodes, products(nodes))


def test_a_layer_and_its_relu_are_one_and_the_output_stays_a_float(example: Path) -> None:
    graph = graph_of(example, "tdnn1a_sp")
    assert graph.destination("tdnn1.affine") == Destination("tdnn1.relu", relu=True)
    assert graph.destination("output.affine") is None
    assert set(graph.nodes) == {"input", "prefinal-chain.relu", *(f"tdnn{i}.relu" for i in range(1, 8))}
    assert graph.is_per_column("input")
    assert not graph.is_per_column("tdnn1.relu")


def test_bypass_sums_add_integers(example: Path) -> None:
    graph = graph_of(example, "tdnnf1b_sp")
    name, terms = next(iter(graph.sums.items()))
    assert [round(term.coefficient, 2) for term in terms] == [0.66, 1.0]
    assert all(term.node in graph.nodes for term in terms)
    assert graph.readers[name] == ["tdnnf3.linear"]
    assert graph.destination("tdnnf3.linear") == Destination("tdnnf3.linear", relu=False)


def test_nodes_read_side_by_side_share_a_grid() -> None:
    nodes = prepare(load(model_file(NNET3 / "fast_lstmp")).nnet).nodes
    graph = QuantGraph(nodes, products(nodes))
    for layer in graph.layers:
        hidden = {name for name in graph.inputs_of(layer) if not graph.is_per_column(name)}
        assert any(hidden <= set(group) for group in graph.groups()) or not hidden


@pytest.mark.parametrize(
    ("name", "layer", "kinds"),
    [
        ("tdnn1a_sp", "tdnn1.affine", {"input"}),
        ("tdnn1a_sp", "tdnn4.affine", {"hidden"}),
        ("tdnn1a_sp", "output.affine", {"output"}),
        ("tdnnf1b_sp", "tdnnf5.linear", {"bottleneck"}),
    ],
)
def test_layers_have_kinds(example: Path, name: str, layer: str, kinds: set[str]) -> None:
    assert layer_kinds(graph_of(example, name).all_nodes)[layer] == kinds


def test_recurrent_layers_and_convolutions_are_known() -> None:
    lstm = layer_kinds(prepare(load(model_file(NNET3 / "fast_lstmp")).nnet).nodes)
    assert any("recurrent" in kinds for kinds in lstm.values())
    convolution = layer_kinds(prepare(load(model_file(NNET3 / "conv_usual")).nnet).nodes)
    assert any("convolution" in kinds for kinds in convolution.values())
