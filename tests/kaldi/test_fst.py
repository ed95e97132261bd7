"""OpenFST files: read, and refused where they are corrupt."""

import struct
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.fst import ARC, FST_MAGIC
from kaldi_quant.kaldi.fst_file import read_fst

ARCS = [(3, 0, 0.5, 1), (0, 2, -0.25, 1), (7, 7, np.inf, 0)]


def header(fst_type: str, arc_type: str, version: int, flags: int, start: int, states: int, arcs: int) -> bytes:
    texts = b"".join(struct.pack("<i", len(text)) + text.encode() for text in (fst_type, arc_type))
    return struct.pack("<i", FST_MAGIC) + texts + struct.pack("<iiQqqq", version, flags, 3, start, states, arcs)


def vector(
    states: int = 2, start: int = 0, flags: int = 0, symbols: bytes = b"", arcs: list[tuple] | None = None
) -> bytes:
    arcs = ARCS if arcs is None else arcs
    body = struct.pack("<fq", np.inf, len(arcs)) + np.array(arcs, ARC).tobytes() + struct.pack("<fq", 1.5, 0)
    return header("vector", "standard", 2, flags, start, states, 0) + symbols + body


@pytest.fixture
def save(tmp_path: Path):
    def write(data: bytes) -> Path:
        path = tmp_path / "test.fst"
        path.write_bytes(data)
        return path

    return write


def test_vector_and_const_as_openfst_writes_them(tmp_path: Path) -> None:
    text = "0 1 3 0 0.5\n0 1 0 2 -0.25\n1 2 1 1\n2 1.5\n"
    fst = kaldifst.compile(text, acceptor=False)
    assert fst.write(str(tmp_path / "vector.fst")) and kaldifst.StdConstFst(fst).write(str(tmp_path / "const.fst"))
    for kind in ("vector", "const"):
        found = read_fst(tmp_path / f"{kind}.fst")
        assert (found.fst_type, found.start, found.num_states) == (kind, 0, 3)
        assert found.arc_offsets.tolist() == [0, 2, 3, 3] and found.source.tolist() == [0, 0, 1]
        assert found.ilabel.tolist() == [3, 0, 1] and found.olabel.tolist() == [0, 2, 1]
        assert found.weight.tolist() == [0.5, -0.25, 0.0] and found.nextstate.tolist() == [1, 1, 2]
        assert found.final.tolist() == [np.inf, np.inf, 1.5]


def test_the_examples_graph(example: Path) -> None:
    graph = example / "exp" / "chain" / "tdnn1a_sp" / "graph_alphadigits" / "HCLG.fst"
    fst = read_fst(graph)
    assert (fst.fst_type, fst.num_states, len(fst.arcs), fst.start) == ("const", 151, 597, 2)
    other = kaldifst.StdConstFst.read(str(graph))
    assert other.num_states == 151 and [other.num_arcs(s) for s in range(151)] == np.diff(fst.arc_offsets).tolist()
    den = read_fst(example / "exp" / "chain" / "tdnn1a_sp" / "den.fst")
    assert (den.fst_type, den.num_states, den.start) == ("vector", 665, 664)


def test_symbol_tables_and_unknown_number_of_states(save) -> None:
    table = struct.pack("<i", 2125658996) + struct.pack("<i1sqq", 1, b"w", 2, 2)
    table += struct.pack("<i5sq", 5, b"<eps>", 0) + struct.pack("<i1sq", 1, b"a", 1)
    found = read_fst(save(vector(flags=3, symbols=table + table)))
    assert len(found.arcs) == 3
    assert len(read_fst(save(vector(states=-1))).final) == 2
    with pytest.raises(FormatError, match="symbol table"):
        read_fst(save(vector(flags=3, symbols=table)))
    with pytest.raises(FormatError, match="symbols cannot follow"):
        read_fst(save(vector(flags=1, symbols=table.replace(struct.pack("<qq", 2, 2), struct.pack("<qq", 2, 2**40)))))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the file is empty"),
        (b"\0Bhello world, this is no FST at all", "expected the header of an FST"),
        (vector()[:30], "the file ends inside"),
        (vector()[:-3], "the file ends inside a state"),
        (vector(states=10**12), "states cannot follow"),
        (vector(states=3), "the file ends inside a state"),
        (vector(start=2), "start state 2"),
        (vector(start=-1), "start state -1"),
        (vector(flags=64), "unknown flags"),
        (vector(arcs=[(1, 1, 0.0, 2)]), "an arc of state 0 leads to a state that is not there"),
        (vector(arcs=[(1, 1, 0.0, -1)]), "leads to a state that is not there"),
        (vector(arcs=[(-1, 1, 0.0, 1)]), "negative label"),
        (vector(arcs=[(1, 1, np.nan, 1)]), "cost that is not a number"),
        (vector(arcs=[(1, 1, -np.inf, 1)]), "cost that is not a number"),
        (vector().replace(struct.pack("<f", 1.5), struct.pack("<f", np.nan)), "final cost of state 1"),
        (vector().replace(struct.pack("<fq", np.inf, 3), struct.pack("<fq", np.inf, 2**50)), "arcs cannot follow"),
        (vector().replace(struct.pack("<fq", np.inf, 3), struct.pack("<fq", np.inf, -3)), "arcs cannot follow"),
        (header("const8", "standard", 2, 0, 0, 0, 0), "found 'const8' of 'standard'.*fstconvert"),
        (header("vector", "log", 2, 0, 0, 0, 0), "found 'vector' of 'log'.*fstmap --map_type=to_standard"),
        (header("olabel_lookahead", "standard", 1, 0, 0, 3, 3), "'olabel_lookahead'.*no language model.*HCLG.fst"),
        (header("ilabel_lookahead", "standard", 1, 0, 0, 3, 3), "composed with its grammar.*Gr.fst"),
        (header("ngram", "standard", 4, 0, 0, 3, 3), "'ngram'.*this is a language model"),
        (header("vector", "standard", 9, 0, 0, 0, 0), "expected version 2"),
        (header("const", "standard", 2, 0, 0, 10**9, 0), "1000000000 states cannot follow"),
        (header("const", "standard", 2, 0, 0, 0, 10**12), "1000000000000 arcs cannot follow"),
        (struct.pack("<ii", FST_MAGIC, 2**30), "cannot have 1073741824 bytes"),
    ],
)
def test_corrupt_files_are_refused(save, data: bytes, expected: str) -> None:
    with pytest.raises(FormatError, match=expected):
        read_fst(save(data))


def test_a_const_fst_must_be_consistent(tmp_path: Path, save) -> None:
    path = str(tmp_path / "const.fst")
    kaldifst.StdConstFst(kaldifst.compile("0 1 3 0 0.5\n0 1 0 2 -0.25\n1 1.5\n", acceptor=False)).write(path)
    data = Path(path).read_bytes()
    state = struct.pack("<fIIII", np.inf, 0, 2, 1, 1)
    assert data.count(state) == 1
    for wrong, expected in (
        (struct.pack("<fIIII", np.inf, 1, 2, 1, 1), "are not the 2 arcs"),
        (struct.pack("<fIIII", np.inf, 0, 9, 1, 1), "are not the 2 arcs"),
        (struct.pack("<fIIII", np.inf, 0, 2, 0, 1), "number of epsilons"),
        (struct.pack("<fIIII", np.inf, 0, 2, 1, 2), "number of epsilons"),
    ):
        with pytest.raises(FormatError, match=expected):
            read_fst(save(data.replace(state, wrong)))


def test_a_missing_file_has_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"HCLG.fst: cannot be read: No such file"):
        read_fst(tmp_path / "HCLG.fst")
