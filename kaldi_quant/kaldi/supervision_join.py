"""The FSTs of several sequences, one behind the other, as one FST; and such an FST taken apart.

Source: ``MergeSupervision`` in ``src/chain/chain-supervision.cc``: concatenation, removal of epsilons, and states
numbered in the order of a breadth-first search.
"""

from collections.abc import Sequence

import numpy as np

from kaldi_quant.kaldi.fst import ARC
from kaldi_quant.kaldi.supervision_fst import SupervisionFst


def join(fsts: Sequence[SupervisionFst]) -> SupervisionFst:
    """The FST of all paths of the first FST followed by one of the second, and so on.

    Args:
        fsts: FSTs of frames, whose final states have no arcs.
    """
    if len(fsts) == 1:
        return fsts[0]
    firsts = np.concatenate([[0], np.cumsum([fst.num_states for fst in fsts])])
    arcs = [_shifted(fst, first) for fst, first in zip(fsts, firsts[:-1], strict=True)]
    sources = [fst.source.astype(np.int64) + first for fst, first in zip(fsts, firsts[:-1], strict=True)]
    # The removal of epsilons writes each state's arcs in reverse.
    pieces, piece_sources = [arcs[0][::-1]], [sources[0][::-1]]
    for k in range(1, len(fsts)):
        before, first = fsts[k - 1], int(firsts[k - 1])
        from_start = sources[k] == firsts[k]
        begin = arcs[k][from_start][::-1]
        for state in np.flatnonzero(before.final != np.inf):
            copies = begin.copy()
            copies["weight"] += before.final[state]
            pieces.append(copies)
            piece_sources.append(np.full(len(copies), first + state))
        pieces.append(arcs[k][~from_start][::-1])
        piece_sources.append(sources[k][~from_start][::-1])
    final = np.full(firsts[-1], np.inf, np.float32)
    final[firsts[-2] :] = fsts[-1].final
    return breadth_first(np.concatenate(piece_sources), np.concatenate(pieces), final)


def _shifted(fst: SupervisionFst, first: int) -> np.ndarray:
    arcs = fst.arcs.copy()
    arcs["nextstate"] += first
    return arcs


def breadth_first(source: np.ndarray, arcs: np.ndarray, final: np.ndarray) -> SupervisionFst:
    """Numbers the states that state 0 leads to in the order in which it leads to them."""
    order = np.argsort(source, kind="stable")
    arcs = arcs[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=len(final)))])
    number = np.full(len(final), -1, np.int32)
    number[0] = 0
    visited, targets, bounds = [0], arcs["nextstate"].tolist(), offsets.tolist()
    for state in visited:
        for target in targets[bounds[state] : bounds[state + 1]]:
            if number[target] < 0:
                number[target] = len(visited)
                visited.append(target)
    counts = np.diff(offsets)[visited]
    new_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    within = np.arange(new_offsets[-1]) - np.repeat(new_offsets[:-1], counts)
    moved = arcs[np.repeat(offsets[visited], counts) + within].astype(ARC)
    moved["nextstate"] = number[moved["nextstate"]]
    return SupervisionFst(0, final[visited], new_offsets, moved)


def take_apart(fst: SupervisionFst, num_sequences: int) -> list[SupervisionFst]:
    """The FSTs of sequences of equal length that one FST joins; the FST itself where their ends cannot be told apart.

    Args:
        fst: an FST of frames.
        num_sequences: how many sequences it holds.
    """
    times = fst.state_times
    length = int(times[-1]) // num_sequences
    ends = np.arange(1, num_sequences) * length
    cuts = np.searchsorted(times, ends)
    # Only a single state between two sequences makes them independent of each other.
    if num_sequences == 1 or np.any(np.searchsorted(times, ends, "right") - cuts != 1):
        return [fst]
    parts = []
    for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), fst.num_states - 1], strict=True):
        final = fst.final[first : last + 1].copy()
        offsets = fst.arc_offsets[first : last + 2] - fst.arc_offsets[first]
        if last < fst.num_states - 1:
            final[-1] = 0
            offsets[-1] = offsets[-2]
        begin = fst.arc_offsets[first]
        arcs = fst.arcs[begin : begin + offsets[-1]].copy()
        arcs["nextstate"] -= first
        parts.append(SupervisionFst(0, final, offsets, arcs))
    return parts
