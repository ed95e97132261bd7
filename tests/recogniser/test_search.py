"""The search of a recogniser."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.search import DecodingGraph, Search


@pytest.fixture(scope="module")
def loglikes(example: Path) -> np.ndarray:
    """Of ``two z s zero``."""
    return dict(read_matrices(f"ark:{example}/reference/nnet3_compute.test_first4.ark"))["test000-000"]


@pytest.fixture
def search(model: Model) -> Search:
    return Search(model.decoding_graph, model.options, model.options.endpoint.silence())


def test_words_and_silence_at_the_end(model: Model, search: Search, loglikes: np.ndarray) -> None:
    silences = []
    for row in loglikes:
        search.accept(row[None])
        silences.append(search.trailing_silence())
    assert search.frames == len(loglikes)
    assert [model.words[word] for word in search.best_path().words] == ["two", "z", "s", "zero"]
    phones = model.transitions.transition_id_to_phone[search.best_path().transition_ids]
    assert silences[-1] > 5
    assert set(phones[-silences[-1] :]) <= {1, 2, 3, 4, 5} and phones[-silences[-1] - 1] > 5
    assert max(silences) < len(loglikes) and 0 in silences
    assert 0 <= search.relative_cost() < 10


def test_without_frames_there_is_no_silence(search: Search) -> None:
    assert (search.frames, search.trailing_silence(), search.best_path().words) == (0, 0, [])


def test_log_likelihoods_are_scaled(model: Model, loglikes: np.ndarray) -> None:
    from dataclasses import replace

    one = Search(model.decoding_graph, model.options)
    half = Search(model.decoding_graph, replace(model.options, acoustic_scale=0.5))
    one.accept(loglikes)
    half.accept(2 * loglikes)
    assert one.lattice().to_bytes() == half.lattice().to_bytes()


def test_other_log_likelihoods_are_refused(search: Search, loglikes: np.ndarray) -> None:
    with pytest.raises(DataError, match="208 pdfs"):
        search.accept(loglikes[:, 1:])
    broken = loglikes.copy()
    broken[3, 4] = np.nan
    with pytest.raises(DataError, match="finite"):
        search.accept(broken)


def test_a_graph_of_another_vocabulary_is_refused(model: Model) -> None:
    words = {number: word for number, word in model.words.items() if number < 10}
    with pytest.raises(DataError, match="word-id"):
        DecodingGraph.load(model.graph, model.transitions, words)
