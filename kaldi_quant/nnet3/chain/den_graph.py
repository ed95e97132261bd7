"""The denominator graph: an HMM over all sequences of pdfs, from Kaldi's ``den.fst``.

Source: ``src/chain/chain-den-graph.cc``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.fst import Fst
from kaldi_quant.kaldi.fst_file import read_fst
from kaldi_quant.nnet3.chain.recorder import Recorder
from kaldi_quant.nnet3.chain.sparse import SparseMatrix

# Steps of the HMM over which the initial probabilities are averaged, and the largest sum of a state's arcs: Kaldi's.
_STEPS = 100
_LARGEST_SUM = 100.0


@dataclass(frozen=True)
class DenominatorMatrices:
    """The graph as matrices. All arcs with one destination and one pdf form a pair; pairs are sorted by destination.

    Args:
        arcs: (pairs, states): the probability of the arcs from each state that are in a pair.
        arcs_transposed: (states, pairs).
        pairs_by_state: (states, pairs): ones where a pair leads to a state.
        pairs_by_pdf: (pdfs, pairs): ones where a pair has a pdf.
        pair_state: (pairs,) int64, the destination.
        pair_pdf: (pairs,) int64.
        initial: (states, 1), the probability of beginning in a state.
    """

    arcs: SparseMatrix
    arcs_transposed: SparseMatrix
    pairs_by_state: SparseMatrix
    pairs_by_pdf: SparseMatrix
    pair_state: Tensor
    pair_pdf: Tensor
    initial: Tensor


class DenominatorGraph:
    """An HMM whose arcs carry pdfs.

    Args:
        fst: an acceptor of pdf-ids plus one.
        num_pdfs: of the model.
        path: where the FST came from, for messages.

    Attributes:
        num_states: its states.
        num_pdfs: the model's pdfs.
        num_arcs: its arcs.
        initial_probs: (states,) float64.

    Raises:
        FormatError: a label is none of the model's pdfs, or the probabilities of a state's arcs are not believable.
    """

    def __init__(self, fst: Fst, num_pdfs: int, path: str = "the denominator FST") -> None:
        self.num_states = fst.num_states
        self.num_pdfs = num_pdfs
        self.num_arcs = len(fst.arcs)
        outside = (fst.ilabel < 1) | (fst.ilabel > num_pdfs)
        if np.any(outside):
            label = int(fst.ilabel[np.argmax(outside)])
            raise FormatError(
                path,
                None,
                f"an arc has the label {label}, and labels are pdf-ids plus one of the {num_pdfs} pdfs of the model: "
                "does this FST belong to another tree?",
            )
        self._probs = np.exp(-fst.weight.astype(np.float64))
        self._source, self._target = fst.source, fst.nextstate
        self.initial_probs = self._initial_probs(fst, path)
        keys, self._pair = np.unique(fst.nextstate.astype(np.int64) * num_pdfs + fst.ilabel - 1, return_inverse=True)
        self._pair_state, self._pair_pdf = np.divmod(keys, num_pdfs)
        self._matrices: dict[tuple[torch.dtype, torch.device], DenominatorMatrices] = {}
        self._recorders: dict[torch.device, Recorder] = {}

    def _initial_probs(self, fst: Fst, path: str) -> np.ndarray:
        """The mean probability of each state over the first steps from the start."""
        sums = np.exp(-fst.final.astype(np.float64))
        np.add.at(sums, self._source, self._probs)
        if not np.all((sums > 0) & (sums < _LARGEST_SUM)):
            state = int(np.argmax(~((sums > 0) & (sums < _LARGEST_SUM))))
            raise FormatError(path, None, f"the probabilities of the arcs of state {state} sum up to {sums[state]:g}")
        shape = (self.num_states, self.num_states)
        step = csr_matrix((self._probs / sums[self._source], (self._target, self._source)), shape)
        probs, mean = np.zeros(self.num_states), np.zeros(self.num_states)
        probs[fst.start] = 1
        for _ in range(_STEPS):
            mean += probs / _STEPS
            probs = step @ probs
            if not probs.sum() > 0:
                raise FormatError(path, None, "no path of the denominator FST is as long as 100 frames")
            probs /= probs.sum()
        return mean

    def matrices(self, dtype: torch.dtype, device: torch.device) -> DenominatorMatrices:
        """The graph as matrices of a type on a device, made once."""
        key = (dtype, device)
        if key not in self._matrices:
            self._matrices[key] = self._make_matrices(dtype, device)
        return self._matrices[key]

    def recorder(self, device: torch.device) -> Recorder:
        """What runs the forward-backward on a device, and may record it with this graph's matrices."""
        return self._recorders.setdefault(device, Recorder.of(device))

    def _make_matrices(self, dtype: torch.dtype, device: torch.device) -> DenominatorMatrices:
        pairs = len(self._pair_state)
        arcs = csr_matrix((self._probs, (self._pair, self._source)), (pairs, self.num_states))
        ones, order = np.ones(pairs), np.arange(pairs)
        by_state = csr_matrix((ones, (self._pair_state, order)), (self.num_states, pairs))
        by_pdf = csr_matrix((ones, (self._pair_pdf, order)), (self.num_pdfs, pairs))
        initial = torch.from_numpy(self.initial_probs)[:, None]
        return DenominatorMatrices(
            SparseMatrix(arcs, dtype, device),
            SparseMatrix(arcs.T.tocsr(), dtype, device),
            SparseMatrix(by_state, dtype, device),
            SparseMatrix(by_pdf, dtype, device),
            torch.from_numpy(self._pair_state).to(device),
            torch.from_numpy(self._pair_pdf).to(device),
            initial.to(device, dtype),
        )


def read_denominator_graph(path: str | os.PathLike[str], num_pdfs: int) -> DenominatorGraph:
    """Reads ``den.fst`` for a model of ``num_pdfs`` pdfs.

    Raises:
        FormatError: the file is missing, truncated or malformed, or does not fit the model.
    """
    return DenominatorGraph(read_fst(path), num_pdfs, os.fspath(path))
