"""Minibatches are those that examples read one by one make, and so are errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.chain_example import NnetChainExample, NnetIo, shift_times
from kaldi_quant.kaldi.egs import EgsOptions, minibatches, read_examples
from kaldi_quant.kaldi.example_packer import Packer
from kaldi_quant.kaldi.fst import ARC
from kaldi_quant.kaldi.general_matrix import CompressedMatrix, FullMatrix
from kaldi_quant.kaldi.merge_egs import MinibatchSizes, merge_egs, merge_examples
from kaldi_quant.kaldi.packed_example import PackedExample, unpack
from kaldi_quant.kaldi.supervision_fst import VECTOR, SupervisionFst
from kaldi_quant.kaldi.writer import make_writer
from tests.kaldi.test_egs import FEATURES, linear_fst, make_example

OPTIONS = EgsOptions("1", buffer_size=-1, read_ahead=0)


def written(example: NnetChainExample) -> bytes:
    writer = make_writer(True)
    example.write(writer)
    return writer.getvalue()


def with_ivector(example: NnetChainExample) -> NnetChainExample:
    ivector = NnetIo("ivector", np.zeros((1, 3), np.int32), FullMatrix(np.ones((1, 3), np.float32)))
    return NnetChainExample([*example.inputs, ivector], example.outputs)


def with_alignment(example: NnetChainExample) -> NnetChainExample:
    example.outputs[0].supervision.alignment_pdfs = np.array([0, 1], np.int32)
    return example


def with_fst(example: NnetChainExample, fst: SupervisionFst) -> NnetChainExample:
    example.outputs[0].supervision.fsts = [fst]
    return example


def with_weights(example: NnetChainExample, weights: list[float], token: str) -> NnetChainExample:
    output = replace(example.outputs[0], deriv_weights=np.float32(weights), deriv_weights_token=token)
    return NnetChainExample(example.inputs, [output])


def branching() -> SupervisionFst:
    """Two ways of two frames, and a cost at the end."""
    arcs = np.array([(1, 1, 0.5, 1), (2, 2, 0.25, 2), (3, 3, 0, 3), (4, 4, 1, 3), (5, 5, 2, 3)], ARC)
    return SupervisionFst(0, np.float32([np.inf, np.inf, np.inf, 0.75]), np.array([0, 2, 3, 5, 5]), arcs)


KINDS: dict[str, Callable[[], NnetChainExample]] = {
    **{name: (lambda name=name: make_example(FEATURES[name])) for name in FEATURES},
    "i-vectors": lambda: with_ivector(make_example()),
    "i-vectors packed": lambda: with_ivector(make_example(FEATURES["CM"])),
    "alignment": lambda: with_alignment(make_example()),
    "end to end": lambda: make_example(fsts=[linear_fst([1, 2])]),
    "vector": lambda: with_fst(make_example(), SupervisionFst(0, *_parts(linear_fst([1, 2])), VECTOR)),
    "branching": lambda: with_fst(make_example(), branching()),
    "old weights": lambda: with_weights(make_example(), [1, 128 / 255], "<DW>"),
    "weights": lambda: with_weights(make_example(), [1, 0.25], "<DW2>"),
    "no weights": lambda: with_weights(make_example(), [], ""),
    "empty weights": lambda: with_weights(make_example(), [], "<DW2>"),
    "merged": lambda: merge_examples([make_example(), make_example()]),
    "late": lambda: make_example(first=200),
}
USUAL = [
    "full",
    "CM",
    "CM2",
    "CM3",
    "i-vectors",
    "i-vectors packed",
    "alignment",
    "branching",
    "weights",
    "empty weights",
]


def _parts(fst: SupervisionFst) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return fst.final, fst.arc_offsets, fst.arcs


@pytest.fixture(scope="module")
def few(example: Path) -> bytes:
    data = (example / "exp/chain/tdnn1a_sp/egs/train_diagnostic.cegs").read_bytes()
    end = b"</Nnet3ChainEg> "
    return b"".join(part + end for part in data.split(end, 12)[:12])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read(kind: str, tmp_path: Path) -> None:
    """Twice: the second time by comparison with the first."""
    expected = KINDS[kind]()
    data = b"a " + written(expected) + b"b " + written(expected)
    packer = Packer()
    found = [packer.find("x", data, place, "egs", 0) for place in (2, 4 + len(written(expected)))]
    usual = [isinstance(example, PackedExample) for example in found]
    assert usual == [kind in USUAL] * 2
    (tmp_path / "a.ark").write_bytes(data)
    both = [example for _, example in read_examples(f"ark:{tmp_path}/a.ark")]
    assert [written(example) for example in both] == [written(expected)] * 2
    for example in found:
        if example is not None:
            (again,) = unpack([example])
            assert written(again) == written(expected) and again.structure == example.structure == expected.structure
            assert again.size == example.size and written(example.read()) == written(expected)
    if kind != "merged":
        pairs = minibatches(f"ark:{tmp_path}/a.ark", replace(OPTIONS, minibatch_size="2"))
        assert [written(example) for _, example in pairs] == [written(merge_examples(both))]


def test_several_forms_side_by_side(tmp_path: Path) -> None:
    """What has the usual layout and what has not are one minibatch where their structure is one."""
    kinds = ["vector", "branching", "late", "i-vectors", "no weights", "weights", "late", "alignment", "alignment"]
    examples = [KINDS[kind]() for kind in kinds]
    (tmp_path / "a.ark").write_bytes(b"".join(b"k%d " % n + written(example) for n, example in enumerate(examples)))
    made = minibatches(f"ark:{tmp_path}/a.ark", replace(OPTIONS, minibatch_size="1:8"))
    found = [(key, written(one)) for key, one in made]
    expected = [(key, written(one)) for key, one in merge_egs(examples, MinibatchSizes.parse("1:8"))]
    assert found == expected and len(found) == 4


@pytest.mark.parametrize("shift", [0, 1, 2, -3])
def test_shifts(few: bytes, tmp_path: Path, shift: int) -> None:
    (tmp_path / "a.ark").write_bytes(few)
    archive = f"ark:{tmp_path}/a.ark"
    found = [written(one) for _, one in minibatches(archive, replace(OPTIONS, minibatch_size="2,1", frame_shift=shift))]
    shifted = (shift_times(example, shift) for _, example in read_examples(archive))
    assert found == [written(one) for _, one in merge_egs(shifted, MinibatchSizes.parse("2,1"))]


@pytest.mark.parametrize("seed", [0, 1, 2, 106])
def test_changed_bytes_have_the_same_effect(few: bytes, tmp_path: Path, seed: int) -> None:
    """Of each example some byte outside its features is changed: what is read is the same, or the error is."""
    random = np.random.default_rng(seed)
    end = b"</Nnet3ChainEg> "
    errors = set()
    for part in [part + end for part in few.split(end)[:12]]:
        for _ in range(6):
            data = bytearray(part)
            begin = 0 if random.random() < 0.3 else data.index(b"</NnetIo>")
            place = int(random.integers(begin, begin + 200 if begin == 0 else len(data)))
            data[place] = int(random.choice([0, 1, 255, 127, data[place] ^ 1, data[place] ^ 64, 32]))
            path = tmp_path / "a.ark"
            path.write_bytes(part + bytes(data))
            found, expected = _outcome(_by_minibatches, path), _outcome(_one_by_one, path)
            assert found == expected
            errors |= {found} if isinstance(found, str) else set()
    assert len(errors) > 10


def _by_minibatches(path: Path) -> list[bytes]:
    return [written(example) for _, example in minibatches(f"ark:{path}", OPTIONS)]


def _one_by_one(path: Path) -> list[bytes]:
    return [written(merge_examples([example])) for _, example in read_examples(f"ark:{path}")]


def _outcome(read: Callable[[Path], list[bytes]], path: Path) -> list[bytes] | str:
    try:
        return read(path)
    except (DataError, FormatError) as error:
        return str(error)


def path_with(labels: list[int], ends: list[float], targets: list[int]) -> SupervisionFst:
    """States in a row, each with an arc."""
    arcs = np.array([(label, label, 0.5, target) for label, target in zip(labels, targets, strict=True)], ARC)
    offsets = np.minimum(np.arange(len(ends) + 1), len(arcs))
    return SupervisionFst(0, np.float32(ends), offsets, arcs)


INF = np.inf


@pytest.mark.parametrize(
    "fst",
    [
        path_with([1, 2, 3], [INF, INF, 0, INF], [1, 2, 3]),
        path_with([1, 2], [INF, 0, 0], [1, 2]),
        path_with([1, 2], [INF, INF, INF], [1, 2]),
        path_with([1, 6], [INF, INF, 0], [1, 2]),
        path_with([1, 2], [INF, INF, np.nan], [1, 2]),
        path_with([1, 2], [INF, INF, 0], [2, 1]),
        path_with([1, 2], [INF, INF, 0], [1, 1]),
        path_with([1], [INF, 0], [1]),
        path_with([0, 1, 2], [INF, INF, INF, 0], [1, 2, 3]),
    ],
    ids=["dead end", "early end", "no end", "label", "cost", "order", "loop", "short", "epsilon"],
)
def test_fsts_that_are_not_as_usual(fst: SupervisionFst, tmp_path: Path) -> None:
    """Beside one that is; the last one is right all the same."""
    examples = [make_example(), with_fst(make_example(), fst)]
    path = tmp_path / "a.ark"
    path.write_bytes(b"".join(b"k%d " % n + written(example) for n, example in enumerate(examples)))
    found, expected = _outcome(_by_minibatches, path), _outcome(_one_by_one, path)
    assert found == expected and isinstance(found, list) == (0 in fst.ilabel)


def test_broken_examples_of_no_minibatch_are_found(few: bytes, tmp_path: Path) -> None:
    place = few.rindex(b"compact_acceptor") + 80
    (tmp_path / "a.ark").write_bytes(few[:place] + b"\xff" * 8 + few[place + 8 :])
    with pytest.raises(DataError, match="the FST"):
        list(minibatches(f"ark:{tmp_path}/a.ark", replace(OPTIONS, minibatch_size="50")))


def test_bytes_of_features_are_unpacked_as_by_the_formula() -> None:
    """Kaldi's: each piece of a column is linear, in double precision behind the product."""
    random = np.random.default_rng(0)
    matrix = CompressedMatrix.compress(random.normal(scale=50, size=(300, 7)).astype(np.float32))
    header, columns = matrix.header, matrix.header.columns
    levels = np.frombuffer(matrix.data, "<u2", 4 * columns).reshape(columns, 4)
    points = header.min_value + header.range * np.float32(1.52590218966964e-05) * levels.astype(np.float32)
    values = np.frombuffer(matrix.data, np.uint8, offset=8 * columns).reshape(columns, -1)
    values = np.concatenate([values, np.tile(np.arange(256, dtype=np.uint8), (columns, 1))], 1)
    expected = np.empty(values.shape, np.float32)
    for place, value in np.ndenumerate(values):
        piece = 0 if value <= 64 else 1 if value <= 192 else 2
        low, high = points[place[0], piece : piece + 2]
        steps = np.float32(int(value) - (0, 64, 192)[piece])
        expected[place] = np.float64(low) + np.float64((high - low) * steps) * (1 / (64.0, 128.0, 63.0)[piece])
    larger = CompressedMatrix(replace(header, rows=values.shape[1]), matrix.data[: 8 * columns] + values.tobytes())
    assert np.array_equal(larger.dense(), expected.T)
