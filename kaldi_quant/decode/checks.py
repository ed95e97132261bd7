"""Do a decoding graph, a transition model, a symbol table and log-likelihoods belong together?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.fst_file import FstFile
from kaldi_quant.kaldi.transition_model import TransitionModel

# Rounds after which costs that still fall along epsilon arcs can only be going round a cycle: no graph has such chains.
_MOST_ROUNDS = 1000
# Costs beyond this leave nothing of a path's other costs in single precision; a corrupt graph has them.
_LARGEST_COST = 1e6


def check_graph(
    graph: FstFile, path: str, model: TransitionModel, model_path: str, words: dict[int, str], words_path: str
) -> None:
    """Refuses a graph that a decoder cannot or must not be given.

    Raises:
        FormatError: the file is truncated or inconsistent.
        DataError: the graph is a grammar, its input labels are not this model's transition-ids, a word is not in the
            symbol table, a cost is beyond reason, or a cycle of epsilon arcs has a negative cost, so that decoding
            would never end.
    """
    found = _look_at(graph, np.array(sorted({0, *words})))
    if found.largest_label > model.num_transition_ids:
        raise DataError(
            f"{path}: has the transition-id {found.largest_label}, but {model_path} has only "
            f"{model.num_transition_ids}: this graph was made for another model"
        )
    if found.unknown_word is not None:
        raise DataError(
            f"{path}: has the word-id {found.unknown_word}, which is not in {words_path} "
            f"({len(words)} words): this graph was made with another words.txt"
        )
    if found.corrupt_cost:
        raise DataError(f"{path}: has a cost beyond {_LARGEST_COST:g}: the file is corrupt")
    if found.largest_label and found.is_acceptor:
        raise DataError(
            f"{path}: its input labels are its output labels, so this is a grammar (G.fst, Gr.fst), and no decoding "
            "graph: give HCLG.fst, which Kaldi's utils/mkgraph.sh makes"
        )
    if found.negative_epsilons:
        _check_epsilon_cycles(graph, path)


@dataclass
class _Found:
    """What a graph has.

    Attributes:
        largest_label: the largest input label.
        unknown_word: the smallest output label that is no word, or None.
        corrupt_cost: whether a cost is beyond reason.
        is_acceptor: whether all input labels are the output labels.
        negative_epsilons: whether an arc without a transition-id has a negative cost.
    """

    largest_label: int = 0
    unknown_word: int | None = None
    corrupt_cost: bool = False
    is_acceptor: bool = True
    negative_epsilons: bool = False


def _look_at(graph: FstFile, known: np.ndarray) -> _Found:
    """Goes through a graph once; ``known`` are the words that it may have, in increasing order."""
    found = _Found()
    for piece in graph.pieces():
        ilabel, olabel, weight = (np.ascontiguousarray(piece.arcs[name]) for name in ("ilabel", "olabel", "weight"))
        found.largest_label = max(found.largest_label, int(ilabel.max(initial=0)))
        words = np.unique(olabel[olabel != 0])
        unknown = words[known[np.searchsorted(known, words).clip(max=len(known) - 1)] != words].tolist()
        if unknown:
            found.unknown_word = min(unknown[0], unknown[0] if found.unknown_word is None else found.unknown_word)
        found.corrupt_cost |= _is_corrupt(weight) or _is_corrupt(piece.final)
        found.is_acceptor &= np.array_equal(ilabel, olabel)
        if weight.min(initial=0) < 0:
            found.negative_epsilons |= bool(np.any(weight[ilabel == 0] < 0))
    return found


def _is_corrupt(costs: np.ndarray) -> bool:
    if costs.min(initial=0) >= -_LARGEST_COST and costs.max(initial=0) <= _LARGEST_COST:
        return False
    return bool(np.any(np.abs(costs[np.isfinite(costs)]) > _LARGEST_COST))


def _check_epsilon_cycles(graph: FstFile, path: str) -> None:
    """Bellman and Ford's algorithm on the arcs without a transition-id, from all states at once.

    A state's arcs are looked at again only where its cost has fallen.
    """
    source, target, weight = _epsilon_arcs(graph)
    states, target = np.unique(target, return_inverse=True)
    # Costs fall where arcs lead to; a state that none leads to has nothing to hand on but its arcs' own costs.
    cost = np.zeros(len(states))
    np.minimum.at(cost, target, weight)
    begin, end = (np.searchsorted(source, states, side) for side in ("left", "right"))
    fallen = np.flatnonzero(cost < 0)
    for _ in range(_MOST_ROUNDS):
        if not len(fallen):
            return
        counts = end[fallen] - begin[fallen]
        arcs = np.repeat(begin[fallen] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        reached = np.repeat(cost[fallen], counts) + weight[arcs]
        places = np.unique(target[arcs])
        before = cost[places]
        np.minimum.at(cost, target[arcs], reached)
        fallen = places[cost[places] < before]
    raise DataError(f"{path}: has a cycle of epsilon arcs with a negative cost, on which decoding would never end")


def _epsilon_arcs(graph: FstFile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, destination and cost, float64, of the arcs without a transition-id, by source."""
    sources, targets, weights = [], [], []
    for piece in graph.pieces():
        epsilon = np.flatnonzero(piece.arcs["ilabel"] == 0)
        sources.append(piece.source[epsilon])
        targets.append(piece.arcs["nextstate"][epsilon])
        weights.append(piece.arcs["weight"][epsilon])
    return np.concatenate(sources), np.concatenate(targets), np.concatenate(weights).astype(np.float64)


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
            "composed with the other, Gr.fst: kaldi-quant compose-graph makes HCLG.fst"
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
