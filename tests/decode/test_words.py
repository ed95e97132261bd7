"""Words of lattices, their times and confidences, as Kaldi's programs find them (``tests/data/words/cmd.txt``)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.decode.alternatives import alternatives_of
from kaldi_quant.decode.lattice_epsilons import remove_epsilons
from kaldi_quant.decode.minimum_bayes_risk import minimum_bayes_risk, scale_graph_costs, words_of
from kaldi_quant.decode.nbest import Path as LatticePath
from kaldi_quant.decode.nbest import best_paths
from kaldi_quant.decode.word_alignment import WordAligner
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.lattice import CompactLattice, assemble
from kaldi_quant.kaldi.lattice_archive import read_lattices
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model
from kaldi_quant.kaldi.word_boundary import WordBoundary, read_word_boundary

FOLDER = Path(__file__).parents[1] / "data" / "words"
UTTERANCES = ("test000-000", "test023-008", "test030-006")
INFINITE = (np.inf, np.inf)


@pytest.fixture(scope="module")
def transitions(example: Path) -> TransitionModel:
    return read_transition_model(example / "exp/chain/tdnn1a_sp/final.mdl")


@pytest.fixture(scope="module")
def boundary(example: Path) -> WordBoundary:
    return read_word_boundary(example / "exp/chain/tdnn1a_sp/graph_alphadigits/phones/word_boundary.int")


@pytest.fixture(scope="module")
def lattices() -> dict[str, CompactLattice]:
    return dict(read_lattices(FOLDER / "lattices.ark"))


def kaldis(name: str, utterance: str) -> list[str]:
    lines = dict(line.split(maxsplit=1) for line in (FOLDER / name).read_text().splitlines())
    return lines[utterance].split()


def confidences(sausages: list[str]) -> list[float]:
    """Of the words that are most probable in their bins."""
    bins = " ".join(sausages).replace("]", "").split("[")
    return [float(confidence) for word, confidence, *_ in (entry.split() for entry in bins if entry) if word != "0"]


def unsure(lattice: CompactLattice) -> CompactLattice:
    factors = np.array([1, 0.3], np.float32)
    return replace(lattice, cost=lattice.cost * factors, final=lattice.final * factors)


@pytest.mark.parametrize("utterance", UTTERANCES)
@pytest.mark.parametrize("name", ["sure", "unsure"])
def test_words_times_and_confidences_are_kaldis(
    lattices: dict[str, CompactLattice],
    transitions: TransitionModel,
    boundary: WordBoundary,
    name: str,
    utterance: str,
) -> None:
    lattice = unsure(lattices[utterance]) if name == "unsure" else lattices[utterance]
    words = words_of(lattice, transitions, boundary)
    assert [word.word for word in words] == [int(word) for word in kaldis(f"{name}.words", utterance)]
    times = [float(time) for time in kaldis(f"{name}.times", utterance) if time != ";"]
    np.testing.assert_allclose([time for word in words for time in (word.begin, word.end)], times, atol=1e-3)
    expected = confidences(kaldis(f"{name}.sausages", utterance))
    np.testing.assert_allclose([word.confidence for word in words], expected, atol=1e-3)


def test_each_arc_of_an_aligned_lattice_is_a_word_or_a_silence(
    lattices: dict[str, CompactLattice], transitions: TransitionModel, boundary: WordBoundary
) -> None:
    lattice = lattices["test030-006"]
    aligned = WordAligner(transitions, boundary).align(lattice)
    phones = transitions.transition_id_to_phone
    for word, string in zip(aligned.word, aligned.strings, strict=True):
        kinds = [boundary.kinds[phones[transition_id]].value for transition_id in string]
        if word:
            assert kinds[0] in ("begin", "singleton") and kinds[-1] == ("end" if kinds[0] == "begin" else "singleton")
        else:
            assert set(kinds) == {"nonword"}
    [before], [after] = best_paths(lattice, 1), best_paths(aligned, 1)
    assert [word for word in after.words if word] == before.words
    assert after.cost == pytest.approx(before.cost, abs=1e-3)
    np.testing.assert_array_equal(np.concatenate(after.strings), np.concatenate(before.strings))


def test_without_a_boundary_words_are_those_of_the_lattice(
    lattices: dict[str, CompactLattice], transitions: TransitionModel, boundary: WordBoundary
) -> None:
    lattice = lattices["test000-000"]
    plain, aligned = words_of(lattice, transitions, None), words_of(lattice, transitions, boundary)
    assert [word.word for word in plain] == [word.word for word in aligned]
    assert plain[0].begin == 0
    np.testing.assert_allclose([word.confidence for word in plain], [word.confidence for word in aligned], atol=1e-4)


def test_alternatives_are_paths_with_their_costs(
    lattices: dict[str, CompactLattice], transitions: TransitionModel, boundary: WordBoundary
) -> None:
    lattice = lattices["test023-008"]
    found = alternatives_of(lattice, transitions, boundary, 3)
    paths = best_paths(scale_graph_costs(lattice, 0.9), 3)
    assert [[word.word for word in one.words] for one in found] == [path.words for path in paths]
    assert [one.confidence for one in found] == [-path.cost for path in paths]
    assert found[0].confidence >= found[1].confidence >= found[2].confidence
    expected = [float(time) for time in kaldis("sure.times", "test023-008") if time != ";"]
    times = [time for word in found[0].words for time in (word.begin, word.end)]
    # Whole frames, of one path; Kaldi's are means over all paths.
    np.testing.assert_allclose(times, expected, atol=0.05)


def lattice_of(arcs: list[tuple[int, int, int, float]], final: dict[int, float], states: int) -> CompactLattice:
    """From (source, target, word, cost), sorted."""
    return assemble(
        0,
        [(final[state], 0.0) if state in final else INFINITE for state in range(states)],
        [np.zeros(0, np.int32)] * states,
        np.searchsorted([source for source, *_ in arcs], range(states + 1)).tolist(),
        [word for _, _, word, _ in arcs],
        [(cost, 0.0) for *_, cost in arcs],
        [target for _, target, *_ in arcs],
        [np.ones(1, np.int32)] * len(arcs),
    )


def all_paths(lattice: CompactLattice) -> list[LatticePath]:
    return best_paths(lattice, 10**6)


def random_lattice(seed: int) -> CompactLattice:
    random = np.random.default_rng(seed)
    arcs = [
        (source, target, int(random.integers(0, 4)), float(random.exponential()))
        for source in range(6)
        for target in range(source + 1, 7)
        if random.random() < 0.6 or target == source + 1
    ]
    return lattice_of(arcs, {3: 1.0, 6: 0.5}, 7)


@pytest.mark.parametrize("seed", range(5))
def test_best_paths_are_all_in_order_of_their_cost(seed: int) -> None:
    lattice = random_lattice(seed)
    offsets, targets = lattice.arc_offsets, lattice.nextstate

    def count(state: int) -> int:
        ends = int(np.isfinite(lattice.final[state]).all())
        return ends + sum(count(targets[arc]) for arc in range(offsets[state], offsets[state + 1]))

    paths = all_paths(lattice)
    assert len(paths) == count(0)
    costs = [path.cost for path in paths]
    assert costs == sorted(costs)
    assert [path.words for path in best_paths(lattice, 3)] == [path.words for path in paths[:3]]


@pytest.mark.parametrize("seed", range(5))
def test_without_epsilons_each_text_has_the_cost_that_it_had(seed: int) -> None:
    lattice = random_lattice(seed)
    removed = remove_epsilons(lattice)
    assert (removed.word > 0).all()
    best: dict[tuple[int, ...], float] = {}
    for path in all_paths(lattice):
        best.setdefault(tuple(word for word in path.words if word), path.cost)
    found: dict[tuple[int, ...], float] = {}
    for path in all_paths(removed):
        found.setdefault(tuple(path.words), path.cost)
    assert found.keys() == best.keys()
    np.testing.assert_allclose([found[text] for text in best], list(best.values()), rtol=1e-5)


def test_the_least_risk_is_not_always_the_best_path() -> None:
    # 1 2 alone is the best, at 0.4; but the others, 0.6 together, agree on 3 at the second place.
    costs = {(1, 2): 0.4, (4, 3): 0.3, (5, 3): 0.3}
    arcs = [(0, state, first, -float(np.log(share))) for state, ((first, _), share) in enumerate(costs.items(), 1)]
    arcs += [(state, 4, second, 0.0) for state, (_, second) in enumerate(costs, 1)]
    words = minimum_bayes_risk(lattice_of(arcs, {4: 0.0}, 5))
    assert [word.word for word in words] == [1, 3]
    np.testing.assert_allclose([word.confidence for word in words], [0.4, 0.6], atol=1e-6)
    assert [(word.begin, word.end) for word in words] == [(0, 1), (1, 2)]


def test_lattices_without_paths_have_no_words(transitions: TransitionModel, boundary: WordBoundary) -> None:
    empty = assemble(-1, [], [], [0], [], [], [], [])
    nowhere = lattice_of([(0, 1, 5, 1.0)], {}, 2)
    for lattice in (empty, nowhere):
        assert words_of(lattice, transitions, boundary) == []
        assert words_of(lattice, transitions, None) == []
        assert alternatives_of(lattice, transitions, boundary, 2) == []


def test_a_cycle_is_refused(transitions: TransitionModel, boundary: WordBoundary) -> None:
    cyclic = lattice_of([(0, 1, 5, 1.0), (1, 0, 5, 1.0)], {1: 0.0}, 2)
    with pytest.raises(DataError, match="cycle"):
        minimum_bayes_risk(cyclic)
