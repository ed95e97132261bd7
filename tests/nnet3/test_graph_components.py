"""Parts of graphs that hang together, compared with scipy's."""

import numpy as np
import pytest
from scipy.sparse import coo_matrix, csgraph

from kaldi_quant.nnet3.graph_components import connected_components, strong_components


def test_a_small_graph() -> None:
    # 0 -> 1 <-> 2 -> 3, 4 reads itself, 5 <-> 6 -> 1.
    assert strong_components([[1], [2], [1, 3], [], [4], [6], [5, 1]]) == [0, 1, 1, 2, 3, 4, 4]
    assert strong_components([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(1, 40))
    edges = rng.integers(0, nodes, (int(rng.integers(0, 3 * nodes)), 2))
    matrix = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (nodes, nodes))
    _, expected = csgraph.connected_components(matrix, directed=True, connection="strong")
    found = strong_components([edges[edges[:, 0] == node, 1].tolist() for node in range(nodes)])
    numbers: dict[int, int] = {}
    assert found == [numbers.setdefault(label, len(numbers)) for label in expected.tolist()]
    _, expected = csgraph.connected_components(matrix, directed=False)
    assert connected_components(nodes, edges[:, 0], edges[:, 1]).tolist() == expected.tolist()


def test_a_long_chain() -> None:
    length = 5000
    assert strong_components([[node + 1] for node in range(length)] + [[0]]) == [0] * (length + 1)
    nodes = np.random.default_rng(0).permutation(length)
    assert not connected_components(length, nodes[1:], nodes[:-1]).any()
    assert connected_components(length, nodes[2:], nodes[1:-1])[nodes[0]] in (0, 1)
