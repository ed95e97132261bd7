"""Lattices and archives of lattices."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError
from kaldi_quant.kaldi.fst import FstBytes
from kaldi_quant.kaldi.lattice import CompactLattice, assemble
from kaldi_quant.kaldi.lattice_archive import read_lattices

DATA = Path(__file__).resolve().parents[1] / "data" / "decode"


def same(first: CompactLattice, second: CompactLattice, rtol: float = 0.0) -> bool:
    arrays = ("final", "cost")
    exact = ("arc_offsets", "word", "nextstate")
    return (
        first.start == second.start
        and all(np.allclose(getattr(first, name), getattr(second, name), rtol=rtol) for name in arrays)
        and all(np.array_equal(getattr(first, name), getattr(second, name)) for name in exact)
        and all(np.array_equal(a, b) for a, b in zip(first.strings, second.strings, strict=True))
        and all(np.array_equal(a, b) for a, b in zip(first.final_strings, second.final_strings, strict=True))
    )


def only(name: str) -> CompactLattice:
    [(utterance, lattice)] = read_lattices(DATA / name)
    assert utterance == "test000-000"
    return lattice


def test_the_forms_in_which_kaldi_writes_a_lattice() -> None:
    compact = only("compact.ark")
    assert compact.word[compact.word > 0].size == compact.num_arcs and compact.num_states > 2
    assert same(only("compact.txt"), compact, rtol=1e-5)
    plain = only("plain.ark")
    assert same(only("plain.txt"), plain, rtol=1e-5)
    assert max(map(len, plain.strings)) == 1
    # Kaldi spreads each arc's transition-ids over as many arcs.
    spread = sum(max(len(string), 1) for string in compact.strings) + sum(map(len, compact.final_strings))
    assert plain.num_arcs == spread


def test_binary_round_trip() -> None:
    archive = dict(read_lattices(DATA / "lat.1.gz"))
    assert list(archive) == [f"test000-00{number}" for number in range(4)]
    for lattice in archive.values():
        data = lattice.to_bytes()
        source = FstBytes(data, "lattice")
        assert same(CompactLattice.read(source), lattice) and source.left == 0
        assert CompactLattice.read(FstBytes(data, "lattice")).to_bytes() == data


def test_our_bytes_are_kaldis_but_for_the_properties() -> None:
    kaldi = (DATA / "compact.ark").read_bytes()[len("test000-000 ") :]
    ours = only("compact.ark").to_bytes()
    assert len(ours) == len(kaldi)
    differing = [position for position, (a, b) in enumerate(zip(ours, kaldi, strict=True)) if a != b]
    properties = range(4 + 4 + 6 + 4 + 16 + 8, 4 + 4 + 6 + 4 + 16 + 16)
    assert set(differing) <= set(properties)


def lattice_of(arcs: list[tuple[int, int]], states: int) -> CompactLattice:
    arcs = sorted(arcs)
    offsets = np.searchsorted([source for source, _ in arcs], range(states + 1)).tolist()
    none = np.zeros(0, np.int32)
    finals = [(np.inf, np.inf)] * (states - 1) + [(0.0, 0.0)]
    costs = [(0.0, 0.0)] * len(arcs)
    nextstates = [nextstate for _, nextstate in arcs]
    return assemble(0, finals, [none] * states, offsets, [1] * len(arcs), costs, nextstates, [none] * len(arcs))


def test_topological_order() -> None:
    assert lattice_of([(0, 1), (0, 2), (1, 2)], 3).topological_order() == [0, 1, 2]
    order = lattice_of([(0, 3), (3, 1), (1, 2), (0, 2)], 4).topological_order()
    assert [order.index(state) for state in (0, 3, 1, 2)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="the lattice has a cycle"):
        lattice_of([(0, 1), (1, 0), (1, 2)], 3).topological_order()


def test_a_weight_of_one_and_an_unfinished_text() -> None:
    text = b"utt \n0 1 5\n0 1 6 1.5,2.5,7_8\n1\n"
    for data in (text, text + b"\n"):
        [(utterance, lattice)] = read_from(data)
        assert utterance == "utt" and lattice.word.tolist() == [5, 6]
        assert lattice.cost.tolist() == [[0, 0], [1.5, 2.5]] and [list(s) for s in lattice.strings] == [[], [7, 8]]
        assert lattice.final.tolist() == [[np.inf, np.inf], [0, 0]]
    [(_, plain)] = read_from(b"utt \n0 1 5 6\n0 1 5 6 1,2\n1 3,4\n")
    assert plain.word.tolist() == [6, 6] and [list(s) for s in plain.strings] == [[5], [5]]


def read_from(data: bytes) -> list[tuple[str, CompactLattice]]:
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(data)
        stream.flush()
        return list(read_lattices(stream.name))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"utt", "expected an utterance"),
        (b"\x00\x01\x02 abc", "expected an utterance"),
        (b"two\nlines abc", "expected an utterance"),
        (b"utt \n0 x 5\n\n", "malformed line"),
        (b"utt \n0 900000000 5\n\n", "state 900000000"),
        (b"utt \n0 -3 5\n\n", "a state that is not there"),
        (b"utt \n0 1 5 nan,0,\n1\n\n", "cost that is not a number"),
        (b"utt hello", "file ends|expected the header"),
        (b"utt \xd6\xfd\xb2\x7e\x06", "file ends inside"),
        ((DATA / "compact.ark").read_bytes()[:-4], "test000-000.*ends too early"),
        ((DATA / "compact.ark").read_bytes().replace(b"compactlattice44", b"compactlattice84"), "'compactlattice84'"),
        (b"\x1f\x8b\x08\x00garbage", "cannot be read"),
        ((DATA / "lat.1.gz").read_bytes()[:2000], "cannot be read"),
    ],
)
def test_corrupt_archives_are_refused(data: bytes, expected: str) -> None:
    with pytest.raises(KaldiQuantError, match=expected):
        read_from(data)


def test_flipped_bytes_never_do_worse_than_an_error() -> None:
    random = np.random.default_rng(0)
    whole = gzip.decompress((DATA / "lat.1.gz").read_bytes())
    outcomes = set()
    for _ in range(150):
        data = bytearray(whole)
        data[random.integers(len(data))] = random.integers(256)
        try:
            outcomes.add(len(read_from(bytes(data))))
        except KaldiQuantError:
            outcomes.add("refused")
    assert outcomes == {4, "refused"}


def test_a_missing_archive_has_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"lat.9.gz: cannot be read: No such file"):
        list(read_lattices(tmp_path / "lat.9.gz"))
