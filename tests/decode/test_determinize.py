"""Determinization, against all paths of small lattices and against Kaldi's own lattices."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.decode.determinize import determinize
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.lattice import CompactLattice, assemble
from kaldi_quant.kaldi.lattice_archive import read_lattices

from .plain_determinization import Plain

DATA = Path(__file__).resolve().parents[1] / "data" / "decode"

Path_ = tuple[tuple[int, ...], float, float, tuple[int, ...]]


def paths(lattice: CompactLattice) -> Iterator[Path_]:
    """Every path: words, graph cost, acoustic cost, transition-ids."""
    stack: list[tuple[int, tuple[int, ...], float, float, tuple[int, ...]]] = [(lattice.start, (), 0.0, 0.0, ())]
    while stack:
        state, words, graph, acoustic, string = stack.pop()
        final = lattice.final[state].tolist()
        if np.isfinite(final[0]):
            yield words, graph + final[0], acoustic + final[1], string + tuple(lattice.final_strings[state].tolist())
        for arc in range(lattice.arc_offsets[state], lattice.arc_offsets[state + 1]):
            word = int(lattice.word[arc])
            stack.append(
                (
                    int(lattice.nextstate[arc]),
                    words + ((word,) if word else ()),
                    graph + float(lattice.cost[arc, 0]),
                    acoustic + float(lattice.cost[arc, 1]),
                    string + tuple(lattice.strings[arc].tolist()),
                )
            )


def best_by_words(lattice: CompactLattice) -> dict[tuple[int, ...], Path_]:
    best: dict[tuple[int, ...], Path_] = {}
    for path in paths(lattice):
        if path[0] not in best or path[1] + path[2] < sum(best[path[0]][1:3]):
            best[path[0]] = path
    return best


def random_lattice(seed: int, states: int = 9, words: int = 3) -> CompactLattice:
    """A lattice without cycles whose states are not in topological order; half of the arcs have no word."""
    random = np.random.default_rng(seed)
    name = random.permutation(states)
    arcs = []
    for source in range(states - 1):
        for _ in range(random.integers(1, 4)):
            target = int(random.integers(source + 1, min(source + 4, states)))
            word = int(random.integers(1, words + 1)) if random.random() < 0.5 else 0
            arcs.append((int(name[source]), int(name[target]), word, random.uniform(0, 3), random.uniform(-4, 4)))
    arcs.sort()
    finals = np.full((states, 2), np.inf)
    finals[name[states - 1]] = (0.5, 0.0)
    finals[name[states - 3]] = (1.0, 0.25)
    return assemble(
        int(name[0]),
        [tuple(final) for final in finals.tolist()],
        [np.zeros(0, np.int32)] * states,
        np.searchsorted([arc[0] for arc in arcs], range(states + 1)).tolist(),
        [arc[2] for arc in arcs],
        [arc[3:] for arc in arcs],
        [arc[1] for arc in arcs],
        [np.array([number + 1], np.int32) for number in range(len(arcs))],
    )


@pytest.mark.parametrize("seed", range(25))
def test_it_keeps_the_best_path_of_every_word_sequence(seed: int) -> None:
    raw = random_lattice(seed)
    expected = best_by_words(raw)
    result = determinize(raw, beam=1000.0)
    for state in range(result.num_states):
        words = result.word[result.arc_offsets[state] : result.arc_offsets[state + 1]].tolist()
        assert len(set(words)) == len(words) and 0 not in words, "no word twice, no epsilon"
    found = list(paths(result))
    assert {path[0] for path in found} == set(expected) and len(found) == len(expected)
    for words, graph, acoustic, string in found:
        assert graph == pytest.approx(expected[words][1], abs=1e-4)
        assert acoustic == pytest.approx(expected[words][2], abs=1e-4)
        assert string == expected[words][3]


@pytest.mark.parametrize("seed", range(8))
def test_pruning_loses_nothing_within_the_beam(seed: int) -> None:
    raw = random_lattice(seed, states=12)
    expected = best_by_words(raw)
    best = min(path[1] + path[2] for path in expected.values())
    kept = {path[0] for path in paths(determinize(raw, beam=3.0))}
    inside = {words for words, path in expected.items() if path[1] + path[2] <= best + 3.0}
    assert inside <= kept
    assert len(kept) < len(expected)


def lattice_of_frames(seed: int, frames: int = 30, width: int = 5) -> CompactLattice:
    """As a decoder makes them: states at each frame, arcs with few different transition-ids, and some without any."""
    random = np.random.default_rng(seed)
    arcs = []
    for frame in range(frames):
        for place in range(width):
            for _ in range(random.integers(1, 4)):
                target = (frame + 1) * width + int(random.integers(width))
                word = int(random.integers(1, 4)) if random.random() < 0.15 else 0
                costs = random.integers(0, 40, 2) / 16 if seed % 2 else random.uniform(0, 2, 2)
                arcs.append((frame * width + place, target, word, *costs, int(random.integers(1, 4))))
            if place + 1 < width and random.random() < 0.4:
                word = int(random.integers(0, 3))
                arcs.append((frame * width + place, frame * width + place + 1, word, random.uniform(0, 1), 0.0, 0))
    states = (frames + 1) * width
    finals = [(np.inf, np.inf)] * (states - width) + [(float(random.uniform(0, 2)), 0.0) for _ in range(width)]
    return assemble(
        0,
        finals,
        [np.zeros(0, np.int32)] * states,
        np.searchsorted([arc[0] for arc in arcs], range(states + 1)).tolist(),
        [arc[2] for arc in arcs],
        [arc[3:5] for arc in arcs],
        [arc[1] for arc in arcs],
        [np.array([arc[5]] if arc[5] else [], np.int32) for arc in arcs],
    )


@pytest.mark.parametrize("beam", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("seed", range(6))
def test_to_the_byte_what_the_definition_gives(seed: int, beam: float) -> None:
    raw = lattice_of_frames(seed)
    found, expected = determinize(raw, beam), Plain(raw, beam).run()
    assert found.to_bytes() == expected.to_bytes() and found.num_arcs > 4
    small = random_lattice(seed, states=30)
    assert determinize(small, beam).to_bytes() == Plain(small, beam).run().to_bytes()


def test_a_limit_on_the_work_keeps_the_best() -> None:
    raw = random_lattice(3, states=14)
    expected = best_by_words(raw)
    best = min(expected.values(), key=lambda path: path[1] + path[2])
    limited = list(paths(determinize(raw, beam=1000.0, most_members=9)))
    assert best[0] in {path[0] for path in limited} and len(limited) < len(expected)


def test_kaldis_lattices_stay_as_they_are() -> None:
    for _, lattice in read_lattices(DATA / "plain.ark"):
        # Kaldi's lattice, spread over arcs of one transition-id, is brought back to the compact one.
        [(_, compact)] = read_lattices(DATA / "compact.ark")
        found, expected = best_by_words(determinize(lattice, 1000.0)), best_by_words(compact)
        assert found.keys() == expected.keys()
        for words, path in found.items():
            assert path[3] == expected[words][3] and path[1:3] == pytest.approx(expected[words][1:3], rel=1e-5)


def test_a_lattice_without_an_end_has_no_path() -> None:
    none = np.zeros(0, np.int32)
    raw = assemble(0, [(np.inf, np.inf)] * 2, [none] * 2, [0, 1, 1], [3], [(1.0, 1.0)], [1], [none])
    assert list(paths(determinize(raw, 8.0))) == list(paths(determinize(raw, np.inf))) == []


def test_a_cycle_is_refused() -> None:
    none = np.zeros(0, np.int32)
    cyclic = assemble(0, [(0.0, 0.0)] * 2, [none] * 2, [0, 1, 2], [0, 0], [(1.0, 1.0)] * 2, [1, 0], [none] * 2)
    with pytest.raises(DataError, match="cycle"):
        determinize(cyclic, 8.0)
