"""The frame-synchronous search, beside Kaldi's lattice decoder of the wheel kaldi-decoder."""

import math
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.decode.determinize import determinize
from kaldi_quant.decode.embedded_decoder import EmbeddedDecoder
from kaldi_quant.decode.graph import load_graph
from kaldi_quant.decode.graph_arcs import GraphArcs
from kaldi_quant.decode.lattice_search import LatticeSearch, SearchOptions
from kaldi_quant.decode.nbest import best_paths
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst import ARC, Fst
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model
from tests.decode.conftest import Job

OPTIONS = SearchOptions(beam=15.0, lattice_beam=8.0, max_active=7000, min_active=200)


@pytest.fixture(scope="module")
def transitions(job: Job) -> TransitionModel:
    return read_transition_model(job.model)


@pytest.fixture(scope="module")
def graph(job: Job, transitions: TransitionModel) -> GraphArcs:
    return GraphArcs(read_fst(job.graph), transitions)


def searched(graph: GraphArcs, loglikes: np.ndarray, options: SearchOptions = OPTIONS, piece: int = 7) -> LatticeSearch:
    search = LatticeSearch(graph, options)
    for begin in range(0, len(loglikes), piece):
        search.accept(loglikes[begin : begin + piece])
    return search


def test_texts_and_their_costs_are_those_of_kaldis_decoder(
    job: Job, graph: GraphArcs, transitions: TransitionModel, matrices: dict[str, np.ndarray], tmp_path: Path
) -> None:
    options = DecodeOptions(post_decode_acwt=1.0)
    decoder = EmbeddedDecoder(load_graph(str(job.graph)), transitions.transition_id_to_pdf, options, tmp_path)
    for utterance, loglikes in matrices.items():
        expected = best_paths(decoder.decode(utterance, loglikes), 10)
        search = searched(graph, loglikes)
        found = best_paths(determinize(search.lattice(), OPTIONS.lattice_beam), 10)
        assert [path.words for path in found] == [path.words for path in expected]
        np.testing.assert_allclose([path.cost for path in found], [path.cost for path in expected], rtol=1e-5)
        np.testing.assert_array_equal(np.concatenate(found[0].strings), np.concatenate(expected[0].strings))


def test_pieces_do_not_matter(graph: GraphArcs, matrices: dict[str, np.ndarray]) -> None:
    loglikes = next(iter(matrices.values()))
    lattices = [searched(graph, loglikes, piece=piece).lattice().to_bytes() for piece in (1, 7, len(loglikes))]
    assert lattices[0] == lattices[1] == lattices[2]


def test_the_best_path_is_that_of_the_lattice(graph: GraphArcs, matrices: dict[str, np.ndarray]) -> None:
    loglikes = next(iter(matrices.values()))
    search = searched(graph, loglikes)
    transition_ids, words, cost = search.best_path()
    [path] = best_paths(search.lattice(use_final_probs=False), 1)
    assert transition_ids == np.concatenate(path.strings).tolist() and len(transition_ids) == len(loglikes)
    assert words == [word for word in path.words if word]
    assert cost == pytest.approx(path.cost, rel=1e-5)
    [ending] = best_paths(search.lattice(), 1)
    assert search.relative_cost() == pytest.approx(ending.cost - path.cost, abs=1e-2)
    assert search.relative_cost() > 0


def test_links_are_dropped_on_the_way(graph: GraphArcs, matrices: dict[str, np.ndarray]) -> None:
    loglikes = next(iter(matrices.values()))
    search, unpruned = (
        searched(graph, loglikes, SearchOptions(15.0, 8.0, prune_interval=interval)) for interval in (25, 10**6)
    )
    tokens, all_tokens = (sum(len(frame.cost) for frame in one._frames) for one in (search, unpruned))
    assert tokens < all_tokens / 2
    assert search.lattice().num_arcs == unpruned.lattice().num_arcs


def test_limits_on_active_states_hold(graph: GraphArcs, matrices: dict[str, np.ndarray]) -> None:
    loglikes = next(iter(matrices.values()))

    def most(options: SearchOptions) -> int:
        return max(len(frame.cost) for frame in searched(graph, loglikes, options)._frames)

    never = 10**6
    wide = most(SearchOptions(15.0, 8.0, min_active=0, prune_interval=never))
    assert most(SearchOptions(15.0, 8.0, max_active=5, min_active=0, prune_interval=never)) < wide
    narrow = most(SearchOptions(1.0, 8.0, min_active=0, prune_interval=never))
    assert narrow < most(SearchOptions(1.0, 8.0, min_active=50, prune_interval=never))


def test_before_the_first_frame_there_is_an_empty_path(graph: GraphArcs) -> None:
    search = LatticeSearch(graph, OPTIONS)
    assert search.frames == 0 and search.best_path() == ([], [], 0.0)


def test_where_all_paths_end_there_are_no_words(transitions: TransitionModel, matrices: dict[str, np.ndarray]) -> None:
    loglikes = next(iter(matrices.values()))
    arcs = np.array([(1, 1, 0.0, 1)], ARC)
    graph = GraphArcs(Fst("vector", 0, np.array([np.inf, 0], np.float32), np.array([0, 1, 1]), arcs), transitions)
    search = searched(graph, loglikes[:1])
    assert search.best_path()[:2] == ([1], [1]) and search.relative_cost() == 0
    search.accept(loglikes[1:])
    assert search.frames == len(loglikes)
    assert search.best_path() == ([], [], math.inf) and search.relative_cost() == math.inf
    with pytest.raises(DataError, match="no path"):
        search.lattice()
