"""FSTs that are read a run of states at a time: the same as a whole, in little memory, with the same checks."""

import mmap
import struct
import tracemalloc
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi import fst_file
from kaldi_quant.kaldi.fst import ARC, FST_MAGIC
from kaldi_quant.kaldi.fst_file import FstFile, read_fst


def text_of(seed: int, states: int = 300) -> str:
    """An FST in text form: some states have no arcs, one has many, some are final."""
    random = np.random.default_rng(seed)
    lines = []
    for state in range(states):
        for _ in range(60 if state == 7 else random.integers(0, 5)):
            target, ilabel, olabel = random.integers(states), random.integers(3), random.integers(4)
            lines.append(f"{state} {target} {ilabel} {olabel} {random.integers(9) / 4}\n")
        if state == states - 1 or random.random() < 0.2:
            lines.append(f"{state} {random.integers(9) / 4}\n")
    return "".join(sorted(lines, key=lambda line: int(line.split()[0]) != 0))


@pytest.fixture(params=["vector", "const"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    fst = kaldifst.compile(text_of(1), acceptor=False)
    path = tmp_path / f"{request.param}.fst"
    assert (kaldifst.StdConstFst(fst) if request.param == "const" else fst).write(str(path))
    return path


def by_hand(path: Path) -> tuple[list[float], list[int], list[tuple]]:
    """Final costs, numbers of arcs and arcs, as kaldifst reads them."""
    fst = (kaldifst.StdConstFst if path.stem == "const" else kaldifst.StdVectorFst).read(str(path))
    states = range(fst.num_states)
    arcs = [
        (arc.ilabel, arc.olabel, arc.weight.value, arc.nextstate)
        for s in states
        for arc in kaldifst.ArcIterator(fst, s)
    ]
    return [fst.final(s).value for s in states], [fst.num_arcs(s) for s in states], arcs


@pytest.mark.parametrize(("states", "size"), [(1, 1 << 22), (7, 1 << 22), (1 << 17, 64), (1 << 17, 1 << 22)])
def test_pieces_are_the_whole(file: Path, monkeypatch: pytest.MonkeyPatch, states: int, size: int) -> None:
    monkeypatch.setattr(fst_file, "_PIECE_STATES", states)
    monkeypatch.setattr(fst_file, "_PIECE_BYTES", size)
    finals, counts, arcs = by_hand(file)
    whole = read_fst(file)
    assert whole.final.tolist() == finals and np.diff(whole.arc_offsets).tolist() == counts
    assert whole.arcs.tolist() == arcs and whole.arc_offsets[0] == 0
    first, sources = 0, []
    for piece in FstFile(file).pieces():
        assert piece.first == first and len(piece.final) <= states and piece.arc_offsets[-1] == len(piece.arcs)
        first += len(piece.final)
        sources += piece.source.tolist()
    assert first == len(finals) and sources == whole.source.tolist()


def test_a_state_and_an_arc_behind_the_first_piece_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors name states by their numbers in the file, and places by bytes, wherever pieces begin."""
    monkeypatch.setattr(fst_file, "_PIECE_STATES", 2)
    good = [(np.inf, [(1, 1, 0.0, 1)])] * 5 + [(0.0, [])]

    def save(states: list, number: int | None = None, cut: int | None = None) -> Path:
        header = struct.pack("<ii6si8siiQqqq", FST_MAGIC, 6, b"vector", 8, b"standard", 2, 0, 3, 0, number or 6, 0)
        body = [struct.pack("<fq", final, len(arcs)) + np.array(arcs, ARC).tobytes() for final, arcs in states]
        (tmp_path / "x.fst").write_bytes((header + b"".join(body))[:cut])
        return tmp_path / "x.fst"

    assert read_fst(save(good)).num_states == 6 and read_fst(save(good, -1)).num_states == 6
    changed = {
        (np.inf, ((1, 1, 0.0, 6),)): "an arc of state 4 leads to a state that is not there",
        (np.inf, ((1, -1, 0.0, 1),)): "an arc of state 4 has a negative label",
        (np.inf, ((1, 1, np.nan, 1),)): "an arc of state 4 has a cost that is not a number",
        (np.nan, ()): "the final cost of state 4 is not a number",
    }
    for (final, arcs), expected in changed.items():
        for number in (6, -1):
            with pytest.raises(FormatError, match=expected):
                read_fst(save([*good[:4], (final, list(arcs)), good[5]], number))
    where = 66 + 4 * 28
    with pytest.raises(FormatError, match=f"byte {where}: the file ends inside a state"):
        read_fst(save(good, cut=where + 5))
    with pytest.raises(FormatError, match=f"byte {where}: the file ends inside a state"):
        read_fst(save(good, -1, cut=where + 5))
    with pytest.raises(FormatError, match=rf"byte {where + 4}: 1 arcs cannot follow in the 15 bytes that are left"):
        read_fst(save(good, cut=where + 27))


def large(folder: Path, form: str) -> Path:
    """An FST of about 40 MB that kaldifst has written."""
    states, arcs = 100_000, 20
    body = np.zeros(states, np.dtype([("final", "<f4"), ("count", "<i8"), ("arcs", ARC, (arcs,))]))
    body["count"], body["arcs"]["nextstate"], body["arcs"]["ilabel"] = arcs, 5, 1
    header = struct.pack("<ii6si8siiQqqq", FST_MAGIC, 6, b"vector", 8, b"standard", 2, 0, 3, 0, states, 0)
    (folder / "vector.fst").write_bytes(header + body.tobytes())
    if form == "const":
        kaldifst.StdConstFst(kaldifst.StdVectorFst.read(str(folder / "vector.fst"))).write(str(folder / "const.fst"))
    return folder / f"{form}.fst"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("form", ["vector", "const"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    path = large(tmp_path, form)
    size = path.stat().st_size
    assert size > 30e6
    tracemalloc.start()
    try:
        mapped = 0
        for piece in FstFile(path).pieces():
            assert not piece.arcs["olabel"].any()
            mapped = max(mapped, mapped_bytes(path))
        assert tracemalloc.get_traced_memory()[1] < size / 2
    finally:
        tracemalloc.stop()
    # One piece, and what the system reads ahead.
    assert 0 < mapped < size / 2


def mapped_bytes(path: Path) -> int:
    """How much of a mapped file is in this process's memory."""
    text = Path("/proc/self/smaps").read_text()
    part = text[text.index(str(path)) :]
    return 1024 * int(part[part.index("Rss:") :].split()[1]) if str(path) in text else mmap.PAGESIZE
