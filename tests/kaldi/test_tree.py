"""The decision tree, read, written and asked."""

from pathlib import Path

import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.event_map import ConstantEventMap
from kaldi_quant.kaldi.reader import BinaryReader, TextReader
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.kaldi.tree import ContextDependency, read_context_dependency
from kaldi_quant.kaldi.writer import make_writer

DATA = Path(__file__).resolve().parents[1] / "data" / "decode"

TABLE = b"ContextDependency 3 1 ToPdf TE 1 3 ( NULL SE -1 [ 0 ]\n{ CE 0 CE 1 } \nCE 2 ) \nEndContextDependency "


def read_text(text: bytes) -> ContextDependency:
    return ContextDependency.read(TextReader(text, "tree"))


def written(tree: ContextDependency, binary: bool) -> bytes:
    writer = make_writer(binary)
    tree.write(writer)
    return writer.getvalue()


def test_example_is_written_back_byte_for_byte_in_both_forms(example: Path) -> None:
    path = example / "exp" / "chain" / "tdnn1a_sp" / "tree"
    tree = read_context_dependency(path)
    assert (tree.context_width, tree.central_position, tree.num_pdfs) == (2, 1, 208)
    assert written(tree, binary=True) == path.read_bytes()
    text = (DATA / "tree.txt").read_bytes()
    assert written(tree, binary=False) == text
    assert written(read_text(text), binary=True) == path.read_bytes()


def test_example_gives_the_transition_models_pdfs(example: Path) -> None:
    folder = example / "exp" / "chain" / "tdnn1a_sp"
    tree, model = read_context_dependency(folder / "tree"), read_transition_model(folder / "final.mdl")
    phones = model.topology.phones.tolist()
    found = {
        (phone, tree.pdf([left, phone], 0), tree.pdf([left, phone], 1)) for phone in phones for left in [0, *phones]
    }
    assert found == {(phone, forward, loop) for phone, _, forward, loop in model.tuples.tolist()}


def test_table_and_null() -> None:
    tree = read_text(TABLE)
    assert tree.num_pdfs == 3
    assert tree.pdf([0, 1, 0], 0) == 0 and tree.pdf([0, 1, 0], 1) == 1 and tree.pdf([0, 2, 0], 5) == 2
    assert tree.pdf([0, 0, 0], 0) is None and tree.pdf([0, 3, 0], 0) is None
    assert tree.to_pdf.map({}) is None
    assert written(tree, binary=False) == TABLE
    binary = written(tree, binary=True)
    assert written(ContextDependency.read(BinaryReader(binary[2:], "tree", 2)), binary=True) == binary


def test_old_form_with_lengths_round_trip() -> None:
    old = TABLE.replace(b"ToPdf", b"ToLength TE 1 2 ( NULL CE 3 ) \nToPdf")
    tree = read_text(old)
    assert tree.to_num_pdf_classes is not None and tree.num_pdfs == 3
    assert written(tree, binary=False) == old


def test_a_deep_tree_does_not_overflow_the_stack() -> None:
    depth = 50_000
    text = b"ContextDependency 1 0 ToPdf " + b"SE 0 [ 1 ]\n{ " * depth + b"CE 0 " + b"CE 1 } \n" * depth
    text += b"EndContextDependency "
    tree = read_text(text)
    assert tree.num_pdfs == 2 and tree.pdf([2], 0) == 1 and tree.pdf([1], 0) == 0
    assert written(tree, binary=False) == text
    assert sum(isinstance(node, ConstantEventMap) for node in tree.to_pdf.nodes()) == depth + 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"CE 2", b"CE -2", "pdf -2 of the tree is out of range"),
        (b"CE 2", b"XE 2", "expected CE or TE or SE or NULL"),
        (b"SE -1", b"SE 3", "expected a key from -1 to 2, found 3"),
        (b"TE 1 3", b"TE 1 4000000000", "cannot follow"),
        (b"[ 0 ]", b"[ 0 0 ]", "not in increasing order"),
        (b"{ CE 0", b"{ NULL", "NULL below"),
        (b"} \n", b") \n", "expected }"),
        (b"3 1 ToPdf", b"3 3 ToPdf", "cannot have its central phone at"),
        (b"3 1 ToPdf", b"300 1 ToPdf", "cannot have its central phone at"),
        (TABLE[len(b"ContextDependency 3 1 ToPdf ") :], b"NULL EndContextDependency ", "found NULL"),
    ],
)
def test_malformed_trees_are_refused(old: bytes, new: bytes, expected: str) -> None:
    assert TABLE.count(old) == 1
    with pytest.raises(FormatError, match=expected):
        read_text(TABLE.replace(old, new))


def test_truncated_trees_are_refused() -> None:
    for end in range(len(TABLE) - len("EndContextDependency ")):
        with pytest.raises(FormatError):
            read_text(TABLE[:end])
