"""Do a decoding graph, a transition model, a symbol table and log-likelihoods belong together?"""

from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst import Fst
from kaldi_quant.kaldi.transition_model import TransitionModel

# Rounds after which costs that still fall along epsilon arcs can only be going round a cycle: no graph has such chains.
_MOST_ROUNDS = 1000
# Costs beyond this leave nothing of a path's other costs in single precision; a corrupt graph has them.
_LARGEST_COST = 1e6


def check_graph(
    graph: Fst, path: str, model: TransitionModel, model_path: str, words: dict[int, str], words_path: str
) -> None:
    """Refuses a graph that a decoder cannot or must not be given.

    Raises:
        DataError: the graph is a grammar, its input labels are not this model's transition-ids, a word is not in the
            symbol table, a cost is beyond reason, or a cycle of epsilon arcs has a negative cost, so that decoding
            would never end.
    """
    largest = int(graph.ilabel.max(initial=0))
    if largest > model.num_transition_ids:
        raise DataError(
            f"{path}: has the transition-id {largest}, but {model_path} has only {model.num_transition_ids}: "
            "this graph was made for another model"
        )
    unknown = [word for word in np.unique(graph.olabel).tolist() if word not in words and word != 0]
    if unknown:
        raise DataError(
            f"{path}: has the word-id {unknown[0]}, which is not in {words_path} "
            f"({len(words)} words): this graph was made with another words.txt"
        )
    for costs in (graph.weight, graph.final):
        if np.any(np.abs(costs[np.isfinite(costs)]) > _LARGEST_COST):
            raise DataError(f"{path}: has a cost beyond {_LARGEST_COST:g}: the file is corrupt")
    if largest and np.array_equal(graph.ilabel, graph.olabel):
        raise DataError(
            f"{path}: its input labels are its output labels, so this is a grammar (G.fst, Gr.fst), and no decoding "
            "graph: give HCLG.fst, which Kaldi's utils/mkgraph.sh makes"
        )
    _check_epsilon_cycles(graph, path)


def _check_epsilon_cycles(graph: Fst, path: str) -> None:
    """Bellman and Ford's algorithm on the arcs without a transition-id, from all states at once."""
    epsilon = np.flatnonzero(graph.ilabel == 0)
    if not np.any(graph.weight[epsilon] < 0):
        return
    source = np.searchsorted(graph.arc_offsets, epsilon, "right") - 1
    nextstate, weight = graph.nextstate[epsilon], graph.weight[epsilon].astype(np.float64)
    cost = np.zeros(graph.num_states)
    for _ in range(_MOST_ROUNDS):
        before = cost.copy()
        np.minimum.at(cost, nextstate, before[source] + weight)
        if np.array_equal(cost, before):
            return
    raise DataError(f"{path}: has a cycle of epsilon arcs with a negative cost, on which decoding would never end")


def require_graph(path: Path) -> None:
    """Says what a folder of a look-ahead graph lacks.

    Args:
        path: of ``HCLG.fst``.

    Raises:
        DataError: it is not there, and one half of a look-ahead graph is.
    """
    if not path.exists() and (path.parent / "HCLr.fst").exists():
        raise DataError(
            f"{path} does not exist, and {path.parent / 'HCLr.fst'} is one half of a look-ahead graph, which must be "
            "composed with the other, Gr.fst: Kaldi's utils/mkgraph_lookahead.sh --compose-graph makes HCLG.fst"
        )


def check_loglikes(utterance: str, loglikes: np.ndarray, num_pdfs: int) -> str | None:
    """Says why an utterance cannot be decoded; None where it can.

    Args:
        utterance: its name.
        loglikes: (frames, pdfs) float32.
        num_pdfs: what the transition model has.

    Raises:
        DataError: the log-likelihoods are another model's.
    """
    if not len(loglikes):
        return "it has no frames"
    if loglikes.shape[1] != num_pdfs:
        raise DataError(
            f"the log-likelihoods of utterance {utterance} have {loglikes.shape[1]} columns but the transition model "
            f"has {num_pdfs} pdfs: they were computed with another model"
        )
    if not np.isfinite(loglikes).all():
        frame, pdf = np.argwhere(~np.isfinite(loglikes))[0]
        return f"its log-likelihoods are not all finite numbers: {loglikes[frame, pdf]} at frame {frame}, pdf {pdf}"
    return None
