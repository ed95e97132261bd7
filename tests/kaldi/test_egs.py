"""Chain examples: read and written back, shifted, shuffled, merged, read ahead."""

import ctypes
import gzip
import itertools
import logging
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.chain_example import NnetChainExample, NnetChainSupervision, NnetIo, shift_times
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.egs import EgsOptions, example_writer, minibatches, read_examples
from kaldi_quant.kaldi.fst import ARC
from kaldi_quant.kaldi.fst_properties import compute_properties
from kaldi_quant.kaldi.general_matrix import CompressedMatrix, FullMatrix, GeneralMatrix, SparseMatrix
from kaldi_quant.kaldi.index_vector import read_index_vector, write_index_vector
from kaldi_quant.kaldi.merge_egs import ExampleMerger, MinibatchSizes, merge_egs, merge_examples
from kaldi_quant.kaldi.read_ahead import read_ahead
from kaldi_quant.kaldi.reader import BinaryReader, TextReader
from kaldi_quant.kaldi.shuffle import CRandom, shuffle
from kaldi_quant.kaldi.supervision_fst import COMPACT, VECTOR, SupervisionFst
from kaldi_quant.kaldi.supervision_join import join, take_apart
from kaldi_quant.kaldi.writer import BinaryWriter, TextWriter, make_writer
from tests.fuzzing import answer, corrupt

EGS = Path("exp/chain/tdnn1a_sp/egs/valid_diagnostic.cegs")
# The first examples of the archive, and a place in it between two examples.
FEW = 12


@pytest.fixture(scope="module")
def archive(example: Path) -> Path:
    return example / EGS


@pytest.fixture(scope="module")
def examples(archive: Path) -> dict[str, NnetChainExample]:
    return dict(read_examples(f"ark:{archive}"))


@pytest.fixture(scope="module")
def few(archive: Path) -> bytes:
    """The bytes of the first examples."""
    data = archive.read_bytes()
    end = 0
    for _ in range(FEW):
        end = data.index(b"</Nnet3ChainEg> ", end) + len(b"</Nnet3ChainEg> ")
    return data[:end]


def written(example: NnetChainExample, binary: bool = True) -> bytes:
    writer = make_writer(binary)
    example.write(writer)
    return writer.getvalue()


def reread(example: NnetChainExample, binary: bool = True) -> NnetChainExample:
    data = written(example, binary)
    reader = BinaryReader(data[2:], "egs") if binary else TextReader(data, "egs")
    result = NnetChainExample.read(reader)
    assert reader.at_end()
    return result


def linear_fst(labels: list[int], cost: float = 0.0) -> SupervisionFst:
    """An FST of one path."""
    arcs = np.array([(label, label, cost, i + 1) for i, label in enumerate(labels)], ARC)
    final = np.full(len(labels) + 1, np.inf, np.float32)
    final[-1] = 0
    offsets = np.minimum(np.arange(len(labels) + 2), len(labels))
    return SupervisionFst(0, final, offsets, arcs)


def make_example(
    features: GeneralMatrix | None = None, first: int = 0, fsts: list[SupervisionFst] | None = None, frames: int = 2
) -> NnetChainExample:
    features = features or FullMatrix(np.arange(8, dtype=np.float32).reshape(4, 2))
    indexes = np.zeros((features.shape[0], 3), np.int32)
    indexes[:, 1] = first + np.arange(len(indexes))
    end_to_end = fsts is not None
    supervision = Supervision(np.float32(1), 1, frames, 5, end_to_end, fsts or [linear_fst([1, 2][:frames])])
    output_indexes = np.zeros((frames, 3), np.int32)
    output_indexes[:, 1] = 3 * np.arange(frames)
    output = NnetChainSupervision("output", output_indexes, supervision, np.ones(frames, np.float32))
    return NnetChainExample([NnetIo("input", indexes, features)], [output])


# Reading and writing


def test_an_archive_is_written_back_byte_for_byte(archive: Path, examples: dict, tmp_path: Path) -> None:
    assert len(examples) == 400
    with example_writer(f"ark:{tmp_path}/copy.ark") as writer:
        for key, example in examples.items():
            writer.write(key, example)
    assert (tmp_path / "copy.ark").read_bytes() == archive.read_bytes()


def test_what_an_example_holds(examples: dict[str, NnetChainExample]) -> None:
    example = examples["train032-015-0"]
    (feats,), (output,) = example.inputs, example.outputs
    assert (feats.name, feats.features.shape) == ("input", (173, 40))
    assert feats.indexes[[0, -1]].tolist() == [[0, -16, 0], [0, 156, 0]]
    assert (output.name, output.times.tolist()) == ("output", list(range(0, 141, 3)))
    supervision = output.supervision
    assert (supervision.weight, supervision.num_sequences, supervision.label_dim) == (1, 1, 208)
    assert supervision.fsts[0].state_times[-1] == supervision.frames_per_sequence == 47
    assert set(np.unique(output.deriv_weights)) <= {0, 0.5, 1}
    assert example.size == 173


def test_written_from_scratch_the_supervision_has_the_same_bytes(examples: dict[str, NnetChainExample]) -> None:
    """The properties in its header are computed as OpenFST computes them."""
    for example in itertools.islice(examples.values(), 100):
        fst = example.outputs[0].supervision.fsts[0]
        fresh, original = BinaryWriter(), BinaryWriter()
        SupervisionFst(fst.start, fst.final, fst.arc_offsets, fst.arcs).write(fresh)
        fst.write(original)
        assert fresh.getvalue() == original.getvalue()


def test_the_text_form_holds_the_same(examples: dict[str, NnetChainExample]) -> None:
    for example in itertools.islice(examples.values(), 5):
        again = reread(example, binary=False)
        for one, other in zip(example.inputs, again.inputs, strict=True):
            assert np.array_equal(one.indexes, other.indexes)
            assert np.allclose(one.features.dense(), other.features.dense(), rtol=1e-6)
        one_fst, other_fst = (eg.outputs[0].supervision.fsts[0] for eg in (example, again))
        assert np.array_equal(one_fst.arcs["ilabel"], other_fst.arcs["ilabel"])
        assert np.array_equal(one_fst.arc_offsets, other_fst.arc_offsets)
        assert np.allclose(one_fst.weight, other_fst.weight, rtol=1e-6)
        assert np.array_equal(one_fst.final, other_fst.final)
        assert written(again, binary=False) == written(example, binary=False)


def test_text_archives(examples: dict[str, NnetChainExample], tmp_path: Path) -> None:
    path = tmp_path / "text.ark"
    with example_writer(f"ark,t:{path}") as writer:
        for key in list(examples)[:3]:
            writer.write(key, examples[key])
    text = path.read_text()
    assert "\n0\t1\t" in text and "</Supervision> <DW2>  [ 1 " in text
    assert list(dict(read_examples(f"ark:{path}"))) == list(examples)[:3]


FEATURES = {
    "full": FullMatrix(np.linspace(-3, 3, 24, dtype=np.float32).reshape(12, 2)),
    "double": FullMatrix(np.linspace(-3, 3, 24).reshape(12, 2)),
    "CM": CompressedMatrix.compress(np.linspace(-3, 3, 24, dtype=np.float32).reshape(12, 2)),
    "CM2": CompressedMatrix.compress(np.linspace(-3, 3, 8, dtype=np.float32).reshape(4, 2)),
    "CM3": CompressedMatrix.read(BinaryReader(b"CM3 " + struct.pack("<ffii", -1, 2, 4, 2) + bytes(range(8)), "x")),
    "sparse": SparseMatrix(7, np.array([0, 2, 2, 5]), np.array([0, 6, 1, 2, 3], "i4"), np.arange(5, dtype=np.float32)),
    "sparse double": SparseMatrix(7, np.array([0, 1, 2]), np.array([4, 6], "i4"), np.array([0.25, 1e-9])),
    "sparse empty": SparseMatrix(7, np.array([0, 0, 0]), np.zeros(0, np.int32), np.zeros(0, np.float32)),
}


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_every_form(name: str) -> None:
    matrix = FEATURES[name]
    example = make_example(matrix)
    again = reread(example)
    assert type(again.inputs[0].features) is type(matrix) and again.inputs[0].features.shape == matrix.shape
    assert np.array_equal(again.inputs[0].features.dense(), matrix.dense())
    assert matrix.dense().dtype == np.float32
    assert written(again) == written(example)
    text = reread(example, binary=False).inputs[0].features
    assert np.allclose(text.dense(), matrix.dense(), rtol=1e-6)


def test_one_byte_per_value_is_unpacked() -> None:
    expected = np.float32(-1) + np.arange(8, dtype=np.float32).reshape(4, 2) * np.float32(2 / 255)
    assert np.allclose(FEATURES["CM3"].dense(), expected)


INDEXES = {
    "steps of one": [(0, t, 0) for t in range(-16, 118)],
    "far steps": [(0, 0, 0), (0, 124, 0), (0, 249, 0), (0, 124, 0), (0, -125, 0)],
    "far start": [(0, -125, 0), (0, -124, 0)],
    "sequences": [(n, t, 0) for n in range(5) for t in range(-2, 3)],
    "by time": [(n, t, 0) for t in range(0, 9, 3) for n in range(4)],
    "x": [(0, 0, 1), (0, 1, 1), (0, 1, 0)],
    "extreme": [(0, -(2**31), 0), (2**31 - 1, 2**31 - 1, -1), (0, 0, 0)],
    "long": [(n, t, 0) for n in range(2) for t in range(5000)],
    "none": [],
}


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("binary", [True, False])
def test_index_vectors(name: str, binary: bool) -> None:
    indexes = np.array(INDEXES[name], np.int32).reshape(-1, 3)
    writer = make_writer(binary)
    write_index_vector(writer, indexes)
    data = writer.getvalue()
    reader = BinaryReader(data[2:], "x") if binary else TextReader(data, "x")
    assert np.array_equal(read_index_vector(reader), indexes)
    assert reader.at_end()


def test_the_packed_form_of_index_vectors() -> None:
    writer = BinaryWriter()
    write_index_vector(writer, np.array([(0, -16, 0), (0, -15, 0), (1, -15, 0), (1, 109, 0), (1, 234, 0)], np.int32))
    escape = struct.pack("<bbibibi", 127, 4, 1, 4, -15, 4, 0)
    far = struct.pack("<bbibibi", 127, 4, 1, 4, 234, 4, 0)
    assert writer.getvalue() == b"\0B<I1V> " + struct.pack("<bi", 4, 5) + b"\xf0\x01" + escape + b"\x7c" + far


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\1\x80", "egs, byte 12: expected an index, found the byte 128"),
        (b"\x7d\0", "egs, byte 11: expected an index, found the byte 125"),
        (b"\x7f\4abcd\5", "egs, byte 11: expected three integers of 4 bytes"),
        (struct.pack("<bbibibi", 127, 4, 1, 4, 2, 4, 0), "egs, byte 27: the file ends inside a vector of indexes"),
    ],
)
def test_broken_index_vectors(data: bytes, sentence: str) -> None:
    head = b"<I1V> " + struct.pack("<bi", 4, 2)
    with pytest.raises(FormatError, match=sentence):
        read_index_vector(BinaryReader(head + data, "egs"))


def test_ivectors_end_to_end_fsts_and_alignments() -> None:
    loop = np.array([(1, 1, 0.5, 0), (2, 2, 1.5, 1), (2, 2, 0.25, 1)], ARC)
    fst = SupervisionFst(0, np.array([np.inf, 0.125], np.float32), np.array([0, 2, 3]), loop)
    example = make_example(fsts=[fst])
    example.inputs.append(NnetIo("ivector", np.zeros((1, 3), np.int32), FullMatrix(np.ones((1, 3), np.float32))))
    example.outputs[0].supervision.alignment_pdfs = np.array([0, 1], np.int32)
    for binary in (True, False):
        again = reread(example, binary)
        assert written(again, binary) == written(example, binary)
        supervision = again.outputs[0].supervision
        assert supervision.end_to_end and supervision.alignment_pdfs.tolist() == [0, 1]
        assert supervision.fsts[0].arcs.tolist() == loop.tolist()
        assert again.inputs[1].features.dense().tolist() == [[1, 1, 1]]
    assert b"<End2End> T<Fsts> " in written(example) and b"<AlignmentPdfs> " in written(example)


def test_expanded_fsts_and_old_weights() -> None:
    example = make_example()
    (output,) = example.outputs
    fst = output.supervision.fsts[0]
    output.supervision.fsts = [SupervisionFst(fst.start, fst.final, fst.arc_offsets, fst.arcs, VECTOR)]
    output.deriv_weights, output.deriv_weights_token = np.float32([1, 128 / 255]), "<DW>"
    assert b"vector" in written(example) and b"<DW> \1\2\0\0\0\xff\x80</NnetChainSup>" in written(example)
    assert written(reread(example)) == written(example)
    assert reread(example).outputs[0].deriv_weights.tolist() == output.deriv_weights.tolist()
    output.deriv_weights, output.deriv_weights_token = np.zeros(0, np.float32), ""
    assert written(reread(example)) == written(example) and b"DW" not in written(example)


def test_pipes_gzip_scripts_and_broken_entries(archive: Path, few: bytes, tmp_path: Path) -> None:
    path = tmp_path / "few.ark"
    path.write_bytes(few)
    expected = [key for key, _ in read_examples(f"ark:{path}")]
    assert len(expected) == FEW
    (tmp_path / "few.ark.gz").write_bytes(gzip.compress(few))
    assert [key for key, _ in read_examples(f"ark:{tmp_path}/few.ark.gz")] == expected
    assert [key for key, _ in read_examples(f"ark:cat {path} |", allow_pipes=True)] == expected
    with pytest.raises(UsageError, match="--allow-pipes"):
        list(read_examples(f"ark:cat {path} |"))
    with example_writer(f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp") as writer:
        for key, example in read_examples(f"ark:{path}"):
            writer.write(key, example)
    from_script = dict(read_examples(f"scp:{tmp_path}/out.scp"))
    assert list(from_script) == expected and written(from_script[expected[5]]) in few
    lines = (tmp_path / "out.scp").read_text().splitlines()
    (tmp_path / "bad.scp").write_text("\n".join([lines[0], lines[1] + "7", lines[2]]) + "\n")
    bad: list[str] = []
    found = dict(read_examples(f"scp:{tmp_path}/bad.scp", on_bad=lambda key, error: bad.append(f"{key}: {error}")))
    assert list(found) == [expected[0], expected[2]] and len(bad) == 1 and bad[0].startswith(expected[1])
    with pytest.raises(KaldiQuantError):
        list(read_examples(f"scp:{tmp_path}/bad.scp"))


def test_large_examples_are_read_whole(examples: dict[str, NnetChainExample], tmp_path: Path) -> None:
    """An example may be larger than what is read at once, in either form."""
    same = [example for example in examples.values() if example.size == 173][:30]
    merged = merge_examples(same)
    for options in ("", ",t"):
        with example_writer(f"ark{options}:{tmp_path}/large.ark") as writer:
            writer.write("large", merged)
            writer.write("small", same[0])
        assert (tmp_path / "large.ark").stat().st_size > 800_000
        again = dict(read_examples(f"ark:{tmp_path}/large.ark"))
        assert np.allclose(again["large"].inputs[0].features.dense(), merged.inputs[0].features.dense(), rtol=1e-6)
        assert list(again) == ["large", "small"]


def test_an_example_beyond_all_measure(
    examples: dict[str, NnetChainExample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = merge_examples([example for example in examples.values() if example.size == 173][:20])
    with example_writer(f"ark:{tmp_path}/large.ark") as writer:
        writer.write("large", merged)
    monkeypatch.setattr("kaldi_quant.kaldi.egs._LARGEST_WINDOW", 1 << 18)
    with pytest.raises(DataError, match=r"example large: .*byte 6: an example is larger than 262144 bytes"):
        list(read_examples(f"ark:{tmp_path}/large.ark"))


@pytest.mark.parametrize("cut", [5, 100, 5000, -1, -2])
def test_truncated_archives(few: bytes, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.ark"
    path.write_bytes(few[:cut])
    with pytest.raises((DataError, FormatError), match=rf"{path}, byte \d+: "):
        list(read_examples(f"ark:{path}"))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"<NumInputs> \x04\x01", b"<NumInputs> \x04\x00", "an example cannot have 0 inputs"),
        (b"<LabelDim> \x04\xd0", b"<LabelDim> \x04\x05", "a label of the supervision's FST is not one of the 5 pdfs"),
        (b"<FramesPerSeq> \x04\x2f", b"<FramesPerSeq> \x04\x30", "paths of 47 frames, expected 48"),
        (b"compact_acceptor", b"compact_acceptoX", "expected a compact_acceptor FST of standard arcs"),
        (b"<DW2> FV \x04\x2f", b"<DW2> FV \x04\x2e", "expected </NnetChainSup>"),
        (b"input <I1V> \x04\xad", b"input <I1V> \x04\xac", r"byte \d+: expected a matrix"),
        (b"<Weight> \x04\x00\x00\x80?", b"<Weight> \x04\x00\x00\x80\xbf", "the weight of a supervision is -1.0"),
    ],
)
def test_inconsistent_examples(few: bytes, tmp_path: Path, old: bytes, new: bytes, sentence: str) -> None:
    path = tmp_path / "bad.ark"
    assert old in few
    path.write_bytes(few.replace(old, new, 1))
    with pytest.raises(DataError, match=sentence) as caught:
        list(read_examples(f"ark:{path}"))
    assert str(caught.value).startswith("example train032-015-0: ") and str(path) in str(caught.value)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("binary", [True, False])
def test_corrupt_archives(few: bytes, examples: dict[str, NnetChainExample], tmp_path: Path, binary: bool) -> None:
    """At seeded places: every one is answered by examples that can be written, or by one sentence."""
    path = tmp_path / "egs.ark"
    source = few
    if not binary:
        with example_writer(f"ark,t:{path}") as writer:
            for key in list(examples)[:3]:
                writer.write(key, examples[key])
        source = path.read_bytes()

    def read() -> None:
        for _, example in read_examples(f"ark:{path}"):
            written(example, binary)
            for part in example.inputs:
                assert part.features.dense().nbytes <= 4 * len(source)

    answers = []
    for seed in range(200 if binary else 60):
        path.write_bytes(corrupt(source, seed))
        answers.append(answer(read, (str(path),)))
    assert "" in answers and len(set(answers)) > 20


# Supervision FSTs


def test_fsts_one_behind_the_other_as_openfst_joins_them(examples: dict[str, NnetChainExample]) -> None:
    """Against OpenFST's removal of epsilons, on FSTs of which one ends in several states with costs."""
    kaldifst = pytest.importorskip("kaldifst")
    arcs = np.array([(1, 1, 0.5, 1), (2, 2, 0.25, 2), (3, 3, 1.0, 3), (1, 1, 0.0, 4), (2, 2, 2.0, 3)], ARC)
    branched = SupervisionFst(0, np.float32([np.inf, np.inf, np.inf, 0.5, 0.75]), np.array([0, 2, 4, 5, 5, 5]), arcs)
    fsts = [eg.outputs[0].supervision.fsts[0] for eg in itertools.islice(examples.values(), 2)]
    fsts = [branched, fsts[0], branched, fsts[1], branched]
    expected = kaldifst.StdVectorFst()
    first = np.cumsum([0, *(fst.num_states for fst in fsts)]).tolist()
    for _ in range(first[-1]):
        expected.add_state()
    expected.start = 0
    for k, fst in enumerate(fsts):
        for source, arc in zip(fst.source.tolist(), fst.arcs.tolist(), strict=True):
            weight = kaldifst.TropicalWeight(arc[2])
            expected.add_arc(first[k] + source, kaldifst.StdArc(arc[0], arc[1], weight, first[k] + arc[3]))
        for state in np.flatnonzero(fst.final != np.inf).tolist():
            weight = kaldifst.TropicalWeight(float(fst.final[state]))
            if k + 1 < len(fsts):
                expected.add_arc(first[k] + state, kaldifst.StdArc(0, 0, weight, first[k + 1]))
            else:
                expected.set_final(first[k] + state, weight)
    kaldifst.rmepsilon(expected)
    rows = [
        [(arc.ilabel, arc.weight.value, arc.nextstate) for arc in kaldifst.ArcIterator(expected, state)]
        for state in range(expected.num_states)
    ]
    visited = [expected.start]
    for state in visited:
        visited += dict.fromkeys(target for _, _, target in rows[state] if target not in visited)
    joined = join(fsts)
    got = [
        [(arc["ilabel"], arc["weight"], arc["nextstate"]) for arc in joined.arcs[begin:end]]
        for begin, end in itertools.pairwise(joined.arc_offsets.tolist())
    ]
    assert got == [[(label, weight, visited.index(target)) for label, weight, target in rows[s]] for s in visited]
    assert joined.final.tolist() == [expected.final(state).value for state in visited]


def test_joined_fsts_are_taken_apart_again(examples: dict[str, NnetChainExample]) -> None:
    fsts = [eg.outputs[0].supervision.fsts[0] for eg in examples.values() if eg.size == 173][:4]
    parts = take_apart(join(fsts), 4)
    assert [part.num_states for part in parts] == [fst.num_states for fst in fsts]
    for part, fst in zip(parts, fsts, strict=True):
        assert np.array_equal(np.sort(part.ilabel), np.sort(fst.ilabel)) and part.final[-1] == 0
        assert part.state_times[-1] == 47
    assert take_apart(fsts[0], 1) == [fsts[0]]


@pytest.mark.parametrize("seed", range(30))
def test_properties_are_openfsts(tmp_path: Path, seed: int) -> None:
    kaldifst = pytest.importorskip("kaldifst")
    rng = np.random.default_rng(seed)
    states, number = int(rng.integers(1, 7)), int(rng.integers(0, 9))
    source = np.sort(rng.integers(0, states, number))
    arcs = np.zeros(number, ARC)
    low = source if seed % 3 == 0 else np.zeros(number, int)
    arcs["nextstate"] = np.minimum(rng.integers(low, states) + (seed % 2), states - 1)
    arcs["ilabel"] = rng.integers(seed % 2, 3, number)
    arcs["olabel"] = arcs["ilabel"] if seed % 4 else rng.integers(0, 3, number)
    arcs["weight"] = rng.integers(0, 2, number) * (seed % 5 > 1)
    final = np.where(rng.random(states) < 0.5, np.float32(seed % 2), np.inf).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=states))])
    fst = SupervisionFst(int(rng.integers(states)), final, offsets, arcs, VECTOR)
    writer = BinaryWriter()
    fst.write(writer)
    (tmp_path / "fst").write_bytes(writer.getvalue()[2:])
    theirs = kaldifst.StdVectorFst.read(str(tmp_path / "fst"))
    every = 0xFFFFFFFF0000
    fresh = kaldifst.StdVectorFst()
    for _ in range(states):
        fresh.add_state()
    fresh.start = fst.start
    for state in range(states):
        if final[state] != np.inf:
            fresh.set_final(state, kaldifst.TropicalWeight(float(final[state])))
    for state, arc in zip(source.tolist(), arcs.tolist(), strict=True):
        fresh.add_arc(state, kaldifst.StdArc(arc[0], arc[1], kaldifst.TropicalWeight(arc[2]), arc[3]))
    assert f"{compute_properties(fst):#x}" == f"{fresh.properties(every, True):#x}"
    assert theirs.num_states == states


# Shifting, shuffling, merging


def test_a_frame_shift_moves_the_features_against_the_output() -> None:
    example = make_example()
    example.inputs.append(NnetIo("ivector", np.zeros((1, 3), np.int32), FullMatrix(np.ones((1, 3), np.float32))))
    for shift, output in ((0, 0), (1, 0), (2, 3), (-1, 0), (-2, -3), (4, 3)):
        shifted = shift_times(example, shift)
        assert shifted.inputs[0].indexes[:, 1].tolist() == [shift, shift + 1, shift + 2, shift + 3]
        assert shifted.inputs[1].indexes.tolist() == [[0, 0, 0]]
        assert shifted.outputs[0].times.tolist() == [output, output + 3]
    assert example.inputs[0].indexes[0, 1] == 0
    with pytest.raises(DataError, match="has one frame"):
        shift_times(make_example(frames=1), 1)


@pytest.mark.parametrize("seed", [0, 1, 2, 777, 2**31 - 1, 2**31, 2**32 - 1])
def test_random_numbers_are_the_c_librarys(seed: int) -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        pytest.skip("the order of examples is that of the GNU C library")
    libc.srand(ctypes.c_uint(seed))
    expected = [libc.rand() for _ in range(500)]
    random = CRandom(seed)
    assert [random.next() for _ in range(500)] == expected


def test_shuffling_through_a_buffer() -> None:
    libc = ctypes.CDLL(None)
    libc.srand(ctypes.c_uint(3))
    buffer: list[int | None] = [None] * 5
    expected = []
    for item in range(40):
        place = libc.rand() % 5
        if buffer[place] is not None:
            expected.append(buffer[place])
        buffer[place] = item
    expected += [item for item in buffer if item is not None]
    assert list(shuffle(range(40), 5, 3)) == expected
    everything = list(shuffle(range(40), 0, 3))
    assert sorted(everything) == list(range(40)) and everything not in (list(range(40)), expected)
    assert everything == list(shuffle(range(40), 0, 3)) != list(shuffle(range(40), 0, 4))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # (size of the example, number available, input ended) → size of the minibatch
        ("128", {(150, 127, False): 0, (150, 128, False): 128, (150, 127, True): 0, (9, 128, True): 128}),
        ("128,64", {(150, 64, False): 0, (150, 130, False): 128, (150, 100, True): 64, (150, 63, True): 0}),
        ("1:64", {(150, 63, False): 0, (150, 64, False): 64, (150, 63, True): 63, (150, 1, True): 1}),
        (
            "16:32,64,128",
            {(1, 127, False): 0, (1, 127, True): 64, (1, 40, True): 32, (1, 20, True): 20, (1, 9, True): 0},
        ),
        ("128=64/256=40,16", {(150, 64, False): 64, (192, 64, False): 64, (193, 64, False): 40, (300, 39, True): 16}),
        ("140=128,64/60=256", {(10, 255, True): 0, (10, 256, False): 256, (100, 128, False): 128}),
    ],
)
def test_sizes_of_minibatches(rule: str, expected: dict[tuple[int, int, bool], int]) -> None:
    sizes = MinibatchSizes.parse(rule)
    assert {key: sizes.choose(*key) for key in expected} == expected


@pytest.mark.parametrize(
    "rule", ["", "0", "a", "64:32", "128,", "1=64/64", "1=2=3", "5=64/5=32", "-1", "64//32", "1:2:3"]
)
def test_impossible_sizes(rule: str) -> None:
    with pytest.raises(UsageError, match=f"--minibatch-size={rule}: "):
        MinibatchSizes.parse(rule)


def test_merged_examples_have_kaldis_layout(examples: dict[str, NnetChainExample]) -> None:
    parts = [example for example in examples.values() if example.size == 173][:3]
    merged = merge_examples(parts)
    (feats,), (output,) = merged.inputs, merged.outputs
    assert feats.indexes[[0, 172, 173]].tolist() == [[0, -16, 0], [0, 156, 0], [1, -16, 0]]
    assert isinstance(feats.features, FullMatrix)
    assert np.array_equal(feats.features.dense()[173:346], parts[1].inputs[0].features.dense())
    assert output.indexes[:4].tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 3, 0]]
    assert np.array_equal(output.deriv_weights[2::3], parts[2].outputs[0].deriv_weights)
    assert output.supervision.num_sequences == 3 and len(output.supervision.fsts) == 3
    again = reread(merged)
    assert written(again) == written(merged)
    assert len(again.outputs[0].supervision.fsts) == 1
    assert np.array_equal(again.inputs[0].by_sequence(), merged.inputs[0].by_sequence())
    assert isinstance(merge_examples(parts, compress=True).inputs[0].features, CompressedMatrix)
    with pytest.raises(DataError, match="cannot be merged again"):
        merge_examples([merged, merged])


def test_only_examples_of_one_structure_are_merged(examples: dict[str, NnetChainExample]) -> None:
    merger = ExampleMerger(MinibatchSizes.parse("40=7/173=16,5"))
    made = [pair for example in examples.values() for pair in merger.accept(example)]
    made += merger.finish()
    assert [int(key.split("-")[1]) for key, _ in made] == list(range(len(made)))
    sizes = {example.size for example in examples.values()}
    for _, merged in made:
        sequences = merged.outputs[0].supervision.num_sequences
        assert merged.inputs[0].layout().frames in sizes and sequences in (5, 7, 16)
    kept = sum(merged.outputs[0].supervision.num_sequences for _, merged in made)
    assert kept + merger.groups.discarded.total() == 400 and 0 < merger.groups.discarded.total() < 20
    first, second = merger.groups.describe()
    assert f"173={{16->{sum('-16' in key for key, m in made if m.inputs[0].layout().frames == 173)}" in first
    assert second.startswith(f"Processed 400 egs into {len(made)} minibatches, discarding ")
    assert list(merger.finish()) == []


@pytest.mark.parametrize(("size", "told"), [("16", False), ("64", True)])
def test_many_examples_are_not_lost_without_a_word(
    size: str, told: bool, examples: dict[str, NnetChainExample], caplog: pytest.LogCaptureFixture
) -> None:
    merger = ExampleMerger(MinibatchSizes.parse(size))
    with caplog.at_level(logging.INFO, "kaldi_quant"):
        for example in examples.values():
            list(merger.accept(example))
        list(merger.finish())
    assert merger.groups.discarded.total() > 0
    assert any("discarding" in line for line in caplog.messages) == told


def test_examples_of_different_kinds_stay_apart() -> None:
    heavy, bare, other = make_example(), make_example(), make_example()
    heavy.outputs[0].supervision.weight = np.float32(2)
    bare.outputs[0] = replace(bare.outputs[0], deriv_weights=np.zeros(0, np.float32))
    other.outputs[0].supervision.label_dim = 6
    parts = [make_example(), heavy, bare, other, make_example(first=1), make_example()]
    made = [merged.outputs[0].supervision.num_sequences for _, merged in merge_egs(parts, MinibatchSizes.parse("1:2"))]
    assert made == [2, 1, 1, 1, 1]
    with pytest.raises(DataError, match="different weight"):
        merge_examples([parts[0], heavy])
    with pytest.raises(DataError, match="weights of derivatives"):
        merge_examples([parts[0], bare])


def test_inputs_that_skip_frames_are_refused() -> None:
    example = make_example()
    example.inputs[0].indexes[2, 1] = 9
    with pytest.raises(DataError, match="does not hold the same successive frames"):
        example.inputs[0].by_sequence()


def test_minibatches_of_an_archive(few: bytes, tmp_path: Path) -> None:
    (tmp_path / "few.ark").write_bytes(few)
    archive = f"ark:{tmp_path}/few.ark"

    def firsts(options: EgsOptions) -> list[float]:
        return [float(eg.inputs[0].features.dense()[0, 0]) for _, eg in minibatches(archive, options)]

    plain = EgsOptions("1", buffer_size=-1)
    in_order = [float(eg.inputs[0].features.dense()[0, 0]) for _, eg in read_examples(archive)]
    assert firsts(plain) == firsts(replace(plain, read_ahead=0)) == in_order
    shuffled = EgsOptions("1", buffer_size=5, srand=7)
    assert sorted(firsts(shuffled)) == sorted(in_order) and firsts(shuffled) == firsts(shuffled) != in_order
    assert firsts(shuffled) != firsts(replace(shuffled, srand=8))
    seen: list[str] = []
    shifted = EgsOptions("3", frame_shift=1, buffer_size=-1)
    merged = [eg for _, eg in minibatches(archive, shifted, check=lambda key, _: seen.append(key))]
    assert {eg.inputs[0].layout().first for eg in merged} == {-15} and merged[0].outputs[0].times[0] == 0
    assert all(eg.outputs[0].supervision.num_sequences == 3 for eg in merged)
    # One example of each structure.
    assert len(seen) == len({eg.structure for _, eg in read_examples(archive)}) < FEW
    with pytest.raises(UsageError, match="--minibatch-size"):
        EgsOptions("many")


# Reading ahead


def _threads() -> int:
    return sum(thread.name == "read ahead" for thread in threading.enumerate())


def test_reading_ahead_is_bounded_and_stops_when_abandoned() -> None:
    made: list[int] = []
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            for number in itertools.count():
                made.append(number)
                yield number
        finally:
            closed.append(True)

    items = read_ahead(source(), depth=3)
    assert [next(items), next(items)] == [0, 1]
    deadline = time.monotonic() + 10
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    # Two are used, three wait, and one waits to get in.
    assert len(made) == 6 and _threads() == 1
    items.close()  # type: ignore[attr-defined]
    assert _threads() == 0 and closed == [True]
    forgotten = read_ahead(source(), depth=1)
    next(forgotten)
    del forgotten
    assert _threads() == 0 and closed == [True, True]


def test_errors_appear_where_the_items_are_used() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise DataError("broken")

    items = read_ahead(source())
    assert next(items) == 1
    with pytest.raises(DataError, match="broken"):
        next(items)
    assert _threads() == 0
    assert list(read_ahead(range(100), 2)) == list(read_ahead(range(100), 0)) == list(range(100))


def test_text_of_sparse_features() -> None:
    writer = TextWriter()
    FEATURES["sparse"].write(writer)
    assert writer.getvalue() == b"rows=3 dim=7 [ 0 0 6 1 ] dim=7 [ ] dim=7 [ 1 2 2 3 3 4 ] \n"


@pytest.mark.parametrize("fst_type", [COMPACT, VECTOR])
def test_fsts_that_are_no_supervision(fst_type: str) -> None:
    def write(fst: SupervisionFst) -> BinaryReader:
        writer = BinaryWriter()
        SupervisionFst(fst.start, fst.final, fst.arc_offsets, fst.arcs, fst_type, 1).write(writer)
        return BinaryReader(writer.getvalue()[2:], "egs", 2)

    fst = linear_fst([1, 2])
    assert SupervisionFst.read(write(fst)).arcs.tolist() == fst.arcs.tolist()
    dangling = linear_fst([1, 2])
    dangling.arcs["nextstate"][1] = 7
    with pytest.raises(FormatError, match="egs, byte 2: an arc of state 1 leads to a state that is not there"):
        SupervisionFst.read(write(dangling))
    endless = linear_fst([1, 2])
    endless.arcs["weight"][0] = np.nan
    with pytest.raises(FormatError, match="has a cost that is not a number"):
        SupervisionFst.read(write(endless))
