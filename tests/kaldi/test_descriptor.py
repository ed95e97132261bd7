"""All ten descriptors: parsing, printing, dimensions, modulus, and one sentence for what is no descriptor."""

import pytest

from kaldi_quant.kaldi.descriptor import (
    Append,
    Const,
    Descriptor,
    Failover,
    IfDefined,
    NodeName,
    Offset,
    ReplaceIndex,
    Round,
    Scale,
    Sum,
    Switch,
    parse_descriptor,
)
from tests.references import MODELS, NNET3, load, model_file

A, B = NodeName("a"), NodeName("b.c-d_e")


@pytest.mark.parametrize(
    ("text", "descriptor"),
    [
        ("a", A),
        ("Append(a, b.c-d_e)", Append((A, B))),
        ("Sum(a, a, a)", Sum((A, A, A))),
        ("Failover(a, b.c-d_e)", Failover((A, B))),
        ("IfDefined(a)", IfDefined(A)),
        ("Offset(a, -3)", Offset(A, -3)),
        ("Offset(a, 2, 1)", Offset(A, 2, 1)),
        ("Switch(a, b.c-d_e, a)", Switch((A, B, A))),
        ("Scale(0.25, a)", Scale(A, 0.25)),
        ("Const(-1.5, 12)", Const(-1.5, 12)),
        ("Round(a, 6)", Round(A, 6)),
        ("ReplaceIndex(a, t, 0)", ReplaceIndex(A, "t", 0)),
        ("ReplaceIndex(a, x, 4)", ReplaceIndex(A, "x", 4)),
        ("Sum(Scale(0.5, Offset(a, -2)), Const(1, 3))", Sum((Scale(Offset(A, -2), 0.5), Const(1.0, 3)))),
    ],
)
def test_every_kind_is_parsed_and_printed(text: str, descriptor: Descriptor) -> None:
    assert parse_descriptor(text) == descriptor
    assert str(descriptor) == text
    assert parse_descriptor(text.replace(" ", "").replace("(", " ( ")) == descriptor


def test_kaldis_own_files_print_as_they_stand() -> None:
    printed = 0
    for name in MODELS:
        nnet = load(model_file(NNET3 / name)).nnet
        for line, node in zip(nnet.config_lines, nnet.nodes.values(), strict=True):
            if hasattr(node, "input"):
                assert f"input={node.input}" in line
                printed += 1
    assert printed > 1000


def test_leaves() -> None:
    leaves = parse_descriptor("Append(Offset(a, 1), Sum(b, Scale(2, a)), Const(0, 3))").leaves()
    assert [leaf.node for leaf in leaves] == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("text", "dim"),
    [
        ("Append(a, Offset(b, 3), Const(1, 2))", 4 + 6 + 2),
        ("Sum(a, Scale(0.5, a), Const(1, 4))", 4),
        ("Failover(a, IfDefined(a))", 4),
        ("Switch(a, Round(a, 2))", 4),
        ("Sum(Append(a, b), Append(b, a))", 10),
        ("ReplaceIndex(b, t, 0)", 6),
    ],
)
def test_dimensions(text: str, dim: int) -> None:
    assert parse_descriptor(text).dim({"a": 4, "b": 6}.__getitem__) == dim


@pytest.mark.parametrize("text", ["Sum(a, b)", "Switch(b, a)", "Failover(a, b)", "Append(a, Sum(a, b))"])
def test_dimensions_that_do_not_agree(text: str) -> None:
    with pytest.raises(ValueError, match=r"adds parts of different dimensions \[4, 6\]"):
        parse_descriptor(text).dim({"a": 4, "b": 6}.__getitem__)


@pytest.mark.parametrize(
    ("text", "modulus"),
    [
        ("Append(a, Offset(b, 7))", 1),
        ("Round(a, 6)", 6),
        ("Append(Round(a, 4), Round(b, 6))", 12),
        ("Switch(a, b, a)", 3),
        ("Switch(Round(a, 4), b, Const(1, 2))", 12),
        ("ReplaceIndex(Offset(a, 3), t, 0)", 1),
    ],
)
def test_modulus(text: str, modulus: int) -> None:
    assert parse_descriptor(text).modulus() == modulus


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "needs more where it has 'its end'"),
        ("Append(a", r"needs \) where it has 'its end'"),
        ("Append(a,)", r"needs a node's name where it has '\)'"),
        ("Append()", r"needs a node's name where it has '\)'"),
        (")", r"needs a node's name where it has '\)'"),
        ("a b", "goes on after its end with 'b'"),
        ("a)", r"goes on after its end with '\)'"),
        ("Splice(a, b)", "'Splice' is not one of Kaldi's descriptors"),
        ("append(a, b)", "'append' is not one of Kaldi's descriptors"),
        ("Offset(a)", "needs , where it has"),
        ("Offset(a, x)", "needs an integer where it has 'x'"),
        ("Offset(a, 1.5)", "needs an integer where it has '1.5'"),
        ("Offset(a, 99999999999)", "needs an integer where it has .99999999999."),
        ("Round(a, 0)", "has 0 as a time modulus"),
        ("Round(a, -2)", "has -2 as a time modulus"),
        ("Const(1, 0)", "has 0 as a dimension"),
        ("Const(1, 2147483647)", "has 2147483647 as a dimension"),
        ("Const(x, 3)", "needs a number where it has 'x'"),
        ("Scale(a, 0.5)", "needs a number where it has 'a'"),
        ("Failover(a)", "gives Failover 1 parts instead of 2"),
        ("Failover(a, b, a)", "gives Failover 3 parts instead of 2"),
        ("ReplaceIndex(a, n, 0)", "replaces t or x, not 'n'"),
        ("IfDefined(a, b)", r"needs \) where it has ','"),
        ("IfDefined(" * 200 + "a" + ")" * 200, "nested more than 100 deep"),
        ("a" * 200_000, "a descriptor of 200000 characters is not plausible"),
    ],
)
def test_one_sentence_for_what_is_no_descriptor(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_descriptor(text)
    assert len(str(caught.value)) < 300
