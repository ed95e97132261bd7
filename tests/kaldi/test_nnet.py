"""The graph of a network: nodes, dimensions, and one sentence for each contradiction."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.descriptor import NodeName, Scale, Sum, parse_descriptor
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.nnet import ComponentNode, DimRangeNode, InputNode, Nnet, Node, OutputNode
from kaldi_quant.kaldi.orphans import without_orphan_nodes
from tests.references import MODELS, NNET3, load, model_file

FAST_LSTM = NNET3 / "fast_lstm" / "final.txt"


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name: str) -> None:
    path = model_file(NNET3 / name)
    assert read_model(path).getvalue(binary=True) == path.read_bytes()


@pytest.mark.parametrize("path", sorted(NNET3.glob("*/final.txt")), ids=lambda path: path.parent.name)
def test_round_trip_in_text_form(path: Path) -> None:
    assert read_model(path).getvalue(binary=False) == path.read_bytes()


def test_nodes() -> None:
    nnet = load(NNET3 / "fast_lstm" / "final.raw").nnet
    assert [node.name for node in nnet.nodes_of(InputNode)] == ["input"]
    assert [node.name for node in nnet.nodes_of(OutputNode)] == ["output"]
    assert DimRangeNode("lstm1.m", "lstm1.lstm_nonlin", 12, 12) in nnet.nodes_of(DimRangeNode)
    affine = nnet.nodes["tdnn1.affine"]
    assert isinstance(affine, ComponentNode)
    assert str(affine.input) == "Append(Offset(input, -1), input, Offset(input, 1))"
    assert nnet.component_dims(affine) == (60, 16)
    assert (nnet.node_dim("input"), nnet.node_dim("lstm1.m"), nnet.node_dim("output")) == (20, 12, 10)
    assert (nnet.input_dim(), nnet.input_dim("ivector")) == (20, 0)


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (b"input-node name=input", b"# a line\n#\ninput-node name=input"),
        (b"dim=20\n", b"dim=20 # behind\n"),
        (b"dim=20\n", b"dim=20# Latin-1: \xe4\n"),
        (b"dim=20\n", b"dim=20\n \t \n"),
        (b"input-node name=input", b" \tinput-node \t name=input"),
        (b"input-node name=input", b"input-node name='input'"),
        (b"objective=linear", b'objective="linear" '),
        (b"dim-offset=12 dim=12", b"dim=12 dim-offset=+12 dim=13"),
    ],
)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_forms_of_lines_that_kaldi_takes(tmp_path: Path, now: bytes, then: bytes, ending: bytes) -> None:
    text = FAST_LSTM.read_bytes()
    assert now in text
    path = tmp_path / "edited.txt"
    path.write_bytes(text.replace(now, then, 1).replace(b"\n", ending))
    assert read_model(path).nnet.nodes == load(FAST_LSTM).nnet.nodes
    # What is written has none of it.
    assert b"#" not in read_model(path).getvalue(binary=False)


@pytest.mark.parametrize(
    ("now", "then", "sentence"),
    [
        ("input=tdnn1.affine\n", "input=tdnn9\n", "names the node 'tdnn9', which does not exist"),
        ("input=tdnn1.affine\n", "input=Append(tdnn1.affine, input)\n", "tdnn1.relu has input of 36 columns, needs 16"),
        (
            "input=tdnn1.affine\n",
            "input=output\n",
            "the output node output, but other nodes cannot read",
        ),
        ("input=tdnn1.affine\n", "input=Sum(input, tdnn1.affine)\n", "adds parts of different dimensions"),
        ("input=tdnn1.affine\n", "input=Splice(input)\n", "'Splice' is not one of Kaldi's descriptors"),
        ("component=tdnn1.relu input", "component=tdnn2.relu input", "uses 'tdnn2.relu', which is not defined"),
        ("node name=tdnn1.relu", "node name=tdnn1.affine", "the node tdnn1.affine is defined twice"),
        ("input-node name=input", "input-node name=in put", "name=in put is not a valid node name"),
        ("input-node name=input dim=20", "input-node name=input dim=0", "the node input has dimension 0"),
        ("input-node name=input dim=20", "input-node name=input dim=x", "dim=x is no integer"),
        ("input-node name=input dim=20", "input-node name=input", "input-node needs dim="),
        ("input-node name=input dim=20", "input-node name=input dim=20 left=3", "input-node does not know left="),
        (
            "dim-range-node name=lstm1.m ",
            "dim-rang-node name=lstm1.m ",
            "'dim-rang-node' is not one of input-node",
        ),
        ("dim-offset=12 dim=12", "dim-offset=13 dim=12", "lstm1.m takes 12 columns from 13 of 24"),
        ("dim-offset=12 dim=12", "dim-offset=-1 dim=12", "lstm1.m takes 12 columns from -1 of 24"),
        ("objective=linear", "objective=cubic", "objective=cubic is neither linear nor quadratic"),
    ],
)
def test_contradictions(tmp_path: Path, now: str, then: str, sentence: str) -> None:
    path = tmp_path / "wrong.txt"
    text = FAST_LSTM.read_text()
    assert now in text
    path.write_text(text.replace(now, then, 1))
    with pytest.raises(ModelError, match=sentence) as caught:
        read_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("now", "then", "sentence"),
    [
        ("<Nnet3> \n", "<Nnet3> more\n", "expected the end of the line after <Nnet3>, found 'more'"),
        ("<NumComponents> 7", "<NumComponents> 8", "expected <ComponentName>, found '</Nnet3>'"),
        ("<NumComponents> 7", "<NumComponents> 6", "expected </Nnet3>, found '<ComponentName>'"),
        ("<NumComponents> 7", "<NumComponents> 2000000000", "2000000000 components cannot follow"),
        ("<ComponentName> tdnn1.relu", "<ComponentName> tdnn1.affine", "the component 'tdnn1.affine' is defined twice"),
        ("</Nnet3> ", "</Nnet3> again ", "the model ends here, but the file goes on"),
        ("<Nnet3> ", "<Nnet2> ", r"expected an nnet3 network \(<Nnet3>\), found '<Nnet2>'"),
    ],
)
def test_malformed_files(tmp_path: Path, now: str, then: str, sentence: str) -> None:
    path = tmp_path / "wrong.txt"
    text = FAST_LSTM.read_text()
    assert now in text
    path.write_text(text.replace(now, then, 1))
    with pytest.raises(FormatError, match=sentence) as caught:
        read_model(path)
    assert f"{path}, byte " in str(caught.value)


def _nodes() -> list[Node]:
    return [
        InputNode("input", 4),
        ComponentNode("relu", "relu", parse_descriptor("Sum(Scale(0.123456789, input), Const(-1.00000001, 4))")),
        DimRangeNode("half", "relu", 2, 2),
        OutputNode("output", parse_descriptor("Append(Offset(half, -1), IfDefined(half))"), "quadratic"),
    ]


def _components(name: str = "relu") -> dict[str, Component]:
    return {name: Component("NoOpComponent", [("Dim", 4), ("BackpropScale", np.float32(1))])}


def test_a_network_of_nodes_is_what_its_file_holds() -> None:
    """Also in the digits of its constants, which are those that Kaldi prints."""
    nnet = Nnet.of_nodes(_nodes(), _components())
    nnet.check()
    assert nnet.config_lines == [
        "input-node name=input dim=4",
        "component-node name=relu component=relu input=Sum(Scale(0.123457, input), Const(-1, 4))",
        "dim-range-node name=half input-node=relu dim-offset=2 dim=2",
        "output-node name=output input=Append(Offset(half, -1), IfDefined(half)) objective=quadratic",
    ]
    again = Nnet.of_lines(nnet.config_lines, nnet.components)
    assert [*again.nodes.items()] == [*nnet.nodes.items()]


def test_lines_that_were_read_stay_where_their_nodes_do() -> None:
    read = [
        "input-node  name=input dim=+4",
        "component-node component=relu name='relu' input=Sum( Scale(0.123456789,input) )",
        "output-node name=output input=relu",
    ]
    nnet = replace(Nnet.of_lines(read, {}), components=_components())
    assert nnet.config_lines == read
    assert nnet.nodes["relu"] == ComponentNode("relu", "relu", Sum((Scale(NodeName("input"), 0.123456789),)))
    wider = replace(nnet, nodes={**nnet.nodes, "input": InputNode("input", 5)})
    assert wider.config_lines == ["input-node name=input dim=5", *read[1:]]
    without_inputs = without_orphan_nodes(Nnet.of_lines(["input-node name=more dim=1", *read], {}), remove_inputs=True)
    assert without_inputs.config_lines == read
    assert Nnet.of_nodes(nnet.nodes.values(), {}).config_lines[0] == "input-node name=input dim=4"


@pytest.mark.parametrize("name", ["a=b", "a#", "'a", '"a'])
def test_components_that_no_line_can_name(name: str) -> None:
    """They can be read from a file, where they may stand in quotation marks."""
    node = ComponentNode("relu", name, NodeName("input"))
    with pytest.raises(ModelError, match=r"^changed\.raw: the node relu uses .* a name that cannot stand in a config"):
        Nnet.of_nodes([InputNode("input", 4), node], _components(name), "changed.raw")
    (line,) = Nnet.of_nodes([replace(node, component="a'b")], {}).config_lines
    assert Nnet.of_lines([line], {}).nodes["relu"] == replace(node, component="a'b")


def test_nodes_of_one_name() -> None:
    with pytest.raises(ModelError, match=r"^changed\.raw: the node input is defined twice$"):
        Nnet.of_nodes([InputNode("input", 4), InputNode("input", 5)], {}, "changed.raw")
