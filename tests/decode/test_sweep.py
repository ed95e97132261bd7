"""Best paths at many points, against one by one through all paths, and against Kaldi's hypotheses."""

import numpy as np
import pytest

from kaldi_quant.decode.options import ScoreOptions
from kaldi_quant.decode.sweep import SweepPoint, best_paths
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.lattice import CompactLattice, assemble

NONE = np.zeros(0, np.int32)


def lattice(
    arcs: list[tuple[int, int, int, float, float]], finals: list[tuple[float, float]], start: int = 0
) -> CompactLattice:
    arcs = sorted(arcs)
    offsets = np.searchsorted([arc[0] for arc in arcs], range(len(finals) + 1)).tolist()
    words, costs, nexts = [arc[2] for arc in arcs], [arc[3:] for arc in arcs], [arc[1] for arc in arcs]
    return assemble(start, finals, [NONE] * len(finals), offsets, words, costs, nexts, [NONE] * len(arcs))


INF = (np.inf, np.inf)


def test_lm_weight_and_penalty_change_the_best_path() -> None:
    # One word with a high graph cost against two words with a low one and a worse acoustic cost.
    example = lattice([(0, 2, 7, 6.0, 10.0), (0, 1, 8, 2.0, 20.0), (1, 2, 9, 2.0, 9.0)], [INF, INF, (0.0, 0.0)])
    points = [SweepPoint(2, "0.0"), SweepPoint(20, "0.0"), SweepPoint(20, "2.0")]
    # 6 + 10/2 against 4 + 29/2;  6 + .5 against 4 + 1.45;  and with two penalties against one.
    assert best_paths(example, points) == [(7,), (8, 9), (7,)]


def test_epsilon_has_no_penalty_and_is_no_word() -> None:
    example = lattice([(0, 1, 0, 0.0, 1.0), (1, 2, 5, 0.0, 0.0), (0, 2, 6, 0.9, 0.0)], [INF, INF, (0.0, 0.0)])
    assert best_paths(example, [SweepPoint(2, "10")]) == [(5,)]


def test_final_costs_count_and_paths_may_end_early() -> None:
    example = lattice([(0, 1, 5, 1.0, 0.0), (1, 2, 6, 1.0, 0.0)], [INF, (0.0, 30.0), (0.0, 0.0)])
    assert best_paths(example, [SweepPoint(10, "0.0"), SweepPoint(60, "0.0")]) == [(5, 6), (5,)]
    assert best_paths(lattice([], [(0.0, 0.0)]), [SweepPoint(10, "0.0")]) == [()]


@pytest.mark.parametrize("seed", range(10))
def test_against_every_path(seed: int) -> None:
    random = np.random.default_rng(seed)
    states = 8
    arcs = [
        (
            source,
            int(random.integers(source + 1, states)),
            int(random.integers(0, 4)),
            *random.uniform(-5, 5, 2).tolist(),
        )
        for source in range(states - 1)
        for _ in range(3)
    ]
    example = lattice(arcs, [INF] * (states - 1) + [(0.3, -0.2)])
    points = ScoreOptions(min_lmwt=1, max_lmwt=6).points
    for point, words in zip(points, best_paths(example, points), strict=True):
        costs = {}

        def walk(
            state: int, done: tuple[int, ...], cost: float, costs: dict = costs, point: SweepPoint = point
        ) -> None:
            if state == states - 1:
                total = cost + 0.3 - 0.2 / point.lm_weight
                costs[done] = min(costs.get(done, np.inf), total)
            for source, nextstate, word, graph, acoustic in arcs:
                if source == state:
                    more = graph + acoustic / point.lm_weight + (float(point.penalty) if word else 0.0)
                    walk(nextstate, (*done, word) if word else done, cost + more)

        walk(0, (), 0.0)
        assert costs[words] == pytest.approx(min(costs.values()), abs=1e-4)


def test_unusable_lattices_are_refused() -> None:
    points = [SweepPoint(10, "0.0")]
    with pytest.raises(DataError, match="empty"):
        best_paths(lattice([], [], start=-1), points)
    with pytest.raises(DataError, match="no path"):
        best_paths(lattice([(0, 1, 5, 0.0, 0.0)], [INF, INF]), points)
    with pytest.raises(DataError, match="cycle"):
        best_paths(lattice([(0, 1, 5, 0.0, 0.0), (1, 0, 5, 0.0, 0.0)], [INF, (0.0, 0.0)]), points)


def test_points_are_in_kaldis_order() -> None:
    points = ScoreOptions(min_lmwt=9, max_lmwt=10, word_ins_penalty=("0.0", "0.5")).points
    assert [(point.lm_weight, point.penalty) for point in points] == [(9, "0.0"), (10, "0.0"), (9, "0.5"), (10, "0.5")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_lmwt": 0},
        {"min_lmwt": 9, "max_lmwt": 8},
        {"word_ins_penalty": ()},
        {"word_ins_penalty": ("0.0", "../x")},
        {"word_ins_penalty": ("0.5", "0.5")},
        {"word_ins_penalty": ("nan",)},
        {"word_ins_penalty": ("9" * 400,)},
        {"max_lmwt": 10**9},
        {"backend": "hvite"},
        {"cmd": "run.pl 'unfinished"},
    ],
)
def test_options_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(UsageError):
        ScoreOptions(**wrong)
