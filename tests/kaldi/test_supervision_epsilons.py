"""Examples whose supervision has arcs that take no frame."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.egs import read_examples
from kaldi_quant.kaldi.fst import ARC
from kaldi_quant.kaldi.reader import BinaryReader
from kaldi_quant.kaldi.supervision_epsilons import without_epsilons
from kaldi_quant.kaldi.supervision_fst import SupervisionFst
from kaldi_quant.kaldi.writer import BinaryWriter


def made(num_states: int, arcs: list[tuple[int, int, int, float]], final: dict[int, float]) -> SupervisionFst:
    """From (state, next state, label, cost) and the costs of ending."""
    arcs = sorted(arcs, key=lambda arc: arc[0])
    packed = np.array([(label, label, cost, target) for _, target, label, cost in arcs], ARC)
    counts = np.bincount([arc[0] for arc in arcs], minlength=num_states)
    costs = np.full(num_states, np.inf, np.float32)
    costs[list(final)] = list(final.values())
    return SupervisionFst(0, costs, np.concatenate([[0], np.cumsum(counts)]), packed)


def paths(fst: SupervisionFst) -> dict[tuple[int, ...], float]:
    """The probability of each sequence of labels, 0 left out."""
    found: dict[tuple[int, ...], float] = {}
    open_paths: list[tuple[int, tuple[int, ...], float]] = [(fst.start, (), 0.0)]
    bounds = list(pairwise(fst.arc_offsets))
    while open_paths:
        state, labels, cost = open_paths.pop()
        if np.isfinite(fst.final[state]):
            found[labels] = found.get(labels, 0.0) + float(np.exp(-cost - fst.final[state]))
        for arc in fst.arcs[slice(*bounds[state])]:
            label = int(arc["ilabel"])
            more = labels if label == 0 else (*labels, label)
            open_paths.append((int(arc["nextstate"]), more, cost + float(arc["weight"])))
    return found


def test_paths_stay_as_they_are() -> None:
    # Two ways into the middle, one of them over two such arcs, and one to the end.
    arcs = [
        (0, 1, 0, 0.5),
        (0, 2, 0, 1.0),
        (1, 2, 0, 0.25),
        (1, 3, 7, 0.0),
        (2, 3, 8, 0.1),
        (3, 4, 9, 0.0),
        (3, 5, 0, 2.0),
    ]
    fst = made(6, arcs, {4: 0.0, 5: 0.3})
    found = without_epsilons(fst)
    assert (found.ilabel > 0).all() and found.num_states == 3
    expected = paths(fst)
    assert paths(found) == pytest.approx(expected, rel=1e-5) and len(expected) == 4


def test_a_frame_where_it_may_end_early() -> None:
    fst = made(3, [(0, 1, 5, 0.0), (1, 2, 0, 1.0)], {1: 0.7, 2: 0.0})
    assert paths(without_epsilons(fst)) == pytest.approx({(5,): np.exp(-0.7) + np.exp(-1.0)})


def test_without_such_arcs_nothing_changes() -> None:
    fst = made(2, [(0, 1, 3, 0.0)], {1: 0.0})
    assert without_epsilons(fst) is fst


def test_circles_are_refused() -> None:
    with pytest.raises(ValueError, match="lead back"):
        without_epsilons(made(2, [(0, 1, 3, 0.0), (1, 0, 0, 0.0)], {1: 0.0}))


def with_epsilon(fst: SupervisionFst, cost: float) -> SupervisionFst:
    """The FST behind an arc that takes no frame, as Kaldi cuts it out of an utterance."""
    arcs = fst.arcs.copy()
    arcs["nextstate"] += 1
    first = np.array([(0, 0, cost, 1)], ARC)
    final = np.concatenate([[np.inf], fst.final]).astype(np.float32)
    return SupervisionFst(0, final, np.concatenate([[0], fst.arc_offsets + 1]), np.concatenate([first, arcs]))


def read_again(supervision: Supervision, fst: SupervisionFst) -> Supervision:
    writer = BinaryWriter()
    replace(supervision, fsts=[fst]).write(writer)
    return Supervision.read(BinaryReader(writer.getvalue()[2:], "egs"))


def test_examples_are_read_without_them(example: Path) -> None:
    egs = example / "exp/chain/tdnn1a_sp/egs/train_diagnostic.cegs"
    supervision = next(iter(read_examples(f"ark:{egs}")))[1].outputs[0].supervision
    expected = supervision.fsts[0]
    found = read_again(supervision, with_epsilon(expected, 0.25)).fsts[0]
    weights = expected.weight.copy()
    weights[: expected.arc_offsets[1]] += np.float32(0.25)
    assert np.array_equal(found.weight, weights) and np.array_equal(found.final, expected.final)
    for name in ("ilabel", "nextstate"):
        assert np.array_equal(found.arcs[name], expected.arcs[name])
    back = with_epsilon(expected, 0.25)
    back.arcs["nextstate"][0] = 0
    with pytest.raises(FormatError, match="FST cannot be read: arcs of label 0 lead back"):
        read_again(supervision, back)
