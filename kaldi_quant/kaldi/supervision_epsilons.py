"""Supervision FSTs without arcs that take no frame.

``nnet3-chain-get-egs`` leaves such arcs at the beginning of a piece of an utterance that the normalization FST does not
accept, and writes the example nonetheless; merging into minibatches removes them. Source: ``GetFrameRange`` and
``MergeSupervision`` in ``src/chain/chain-supervision.cc``, and ``fst::RmEpsilon`` of OpenFst.
"""

from itertools import pairwise

import numpy as np

from kaldi_quant.kaldi.supervision_fst import SupervisionFst
from kaldi_quant.kaldi.supervision_join import breadth_first


def without_epsilons(fst: SupervisionFst) -> SupervisionFst:
    """The FST with the same paths, none of whose arcs has label 0; the FST itself where it has none.

    Args:
        fst: whose arcs with label 0 lead to states with higher numbers, and which begins in state 0.

    Raises:
        ValueError: it is not so.
    """
    is_epsilon = fst.ilabel == 0
    if not is_epsilon.any():
        return fst
    source, target = fst.source, fst.nextstate
    if fst.start != 0 or np.any(target[is_epsilon] <= source[is_epsilon]):
        raise ValueError("arcs of label 0 lead back")
    bounds, final = fst.arc_offsets, fst.final.astype(np.float64)
    leaving = [fst.arcs[begin:end][fst.ilabel[begin:end] != 0] for begin, end in pairwise(bounds)]
    # From the last state on: what an arc without a frame leads to has none any more.
    for arc in np.flatnonzero(is_epsilon)[::-1]:
        state, then, cost = source[arc], target[arc], float(fst.weight[arc])
        copies = leaving[then].copy()
        copies["weight"] += cost
        leaving[state] = np.concatenate([leaving[state], copies])
        final[state] = -np.logaddexp(-final[state], -(final[then] + cost))
    counts = [len(arcs) for arcs in leaving]
    return breadth_first(
        np.repeat(np.arange(fst.num_states), counts), np.concatenate(leaving), final.astype(np.float32)
    )
