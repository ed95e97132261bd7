"""The numerator: the paths that a supervision permits, of all sequences of a minibatch at once.

FSTs of frames and end-to-end ones are both laid out as arcs from the states at one frame to those at the next. Computed
in logarithms, in double precision.
Source: ``src/chain/chain-numerator.cc`` for FSTs of frames, ``chain-generic-numerator.cc`` for end-to-end ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.supervision_fst import SupervisionFst
from kaldi_quant.kaldi.supervision_join import take_apart
from kaldi_quant.nnet3.chain.log_sum import log_sum
from kaldi_quant.nnet3.chain.padded_numerator import PaddedArcs, PaddedTensors, padded, rounded_up


@dataclass(frozen=True)
class NumeratorArcs:
    """The arcs of all FSTs, frame by frame; states are counted anew at each frame.

    Args:
        num_arcs: (frames,) of each frame; the arcs of a frame follow those of the frame before it.
        num_states: (frames + 1,), before the first frame, between frames, and behind the last.
        source: (arcs,) int64, a state before the arc's frame.
        target: (arcs,) int64, a state behind it.
        element: (arcs,) int64: which element of the network's output, (N, T, pdfs), the arc reads.
        log_prob: (arcs,) float64, of the arc alone.
        initial: (num_states[0],) float64, the log-probability of beginning in a state.
        final: (num_states[-1],) float64, that of ending there.
        owner: (num_states[-1],) int64: the FST to which a last state belongs.
        num_fsts: how many FSTs.
        shape: N, T and pdfs of the output that they are for.
        weight: of the sequences.
    """

    num_arcs: list[int]
    num_states: list[int]
    source: Tensor
    target: Tensor
    element: Tensor
    log_prob: Tensor
    initial: Tensor
    final: Tensor
    owner: Tensor
    num_fsts: int
    shape: tuple[int, int, int]
    weight: float

    @classmethod
    def of(cls, supervision: Supervision) -> NumeratorArcs:
        """Lays out the FSTs of a supervision."""
        fsts = supervision.fsts
        if not supervision.end_to_end and len(fsts) < supervision.num_sequences:
            fsts = [part for fst in fsts for part in take_apart(fst, supervision.num_sequences // len(fsts))]
        return (_lay_out_unrolled if supervision.end_to_end else _lay_out_frames)(_Joint.of(fsts), supervision)

    def to(self, device: torch.device) -> NumeratorArcs | PaddedArcs:
        """What is computed with on a device."""
        return self if device.type == "cpu" else self.padded().to(device)

    def padded(self) -> PaddedArcs:
        """The same arcs, with room for an equal number at every state."""
        states = rounded_up(max(self.num_states))
        source, target = self.source.numpy(), self.target.numpy()
        pairs = [(target, source), (source, target)]
        shared = (padded(self.num_arcs, states, ends, self.element.numpy(), self.log_prob.numpy()) for ends in pairs)
        tensors = [torch.from_numpy(array) for arrays in shared for array in arrays]

        def filled(values: Tensor, filling: float) -> Tensor:
            return torch.cat([values, values.new_full((states - len(values),), filling)])

        ends = (filled(self.initial, -torch.inf), filled(self.final, -torch.inf), filled(self.owner, 0))
        return PaddedArcs(PaddedTensors._make([*tensors, *ends]), self.num_fsts, self.shape, self.weight)

    def sums(self, output: Tensor, with_derivative: bool) -> tuple[Tensor, Tensor | None]:
        """Sums over all paths.

        Args:
            output: (N, T, pdfs), log-likelihoods.
            with_derivative: whether the derivative is computed too.

        Returns:
            (FSTs,) float64, the log-probability of each FST, and the derivative of their sum, (N, T, pdfs) float64.
        """
        scores = output.reshape(-1).index_select(0, self.element).double() + self.log_prob
        sources, targets = self.source.split(self.num_arcs), self.target.split(self.num_arcs)
        by_frame = scores.split(self.num_arcs)
        alphas = [self.initial]
        for t, score in enumerate(by_frame):
            values = alphas[-1].index_select(0, sources[t]) + score
            alphas.append(log_sum(values, targets[t], self.num_states[t + 1]))
        log_prob = log_sum(alphas[-1] + self.final, self.owner, self.num_fsts)
        if not with_derivative:
            return log_prob, None
        beta = self.final - log_prob.index_select(0, self.owner)
        posteriors = [scores.new_zeros(0)] * len(by_frame)
        for t in reversed(range(len(by_frame))):
            values = beta.index_select(0, targets[t]) + by_frame[t]
            posteriors[t] = (alphas[t].index_select(0, sources[t]) + values).exp_()
            beta = log_sum(values, sources[t], self.num_states[t])
        occupation = scores.new_zeros(output.numel()).index_add_(0, self.element, torch.cat(posteriors))
        return log_prob, occupation.view(output.shape)


@dataclass(frozen=True)
class _Joint:
    """Several FSTs side by side: their states and arcs are counted through."""

    fsts: list[SupervisionFst]
    first_state: np.ndarray
    source: np.ndarray
    target: np.ndarray
    pdf: np.ndarray
    log_prob: np.ndarray
    arc_owner: np.ndarray
    state_owner: np.ndarray
    final: np.ndarray

    @classmethod
    def of(cls, fsts: list[SupervisionFst]) -> _Joint:
        sizes = [fst.num_states for fst in fsts]
        first = np.cumsum([0, *sizes[:-1]])
        owner = np.repeat(np.arange(len(fsts)), [len(fst.arcs) for fst in fsts])
        arcs = np.concatenate([fst.arcs for fst in fsts])
        return cls(
            fsts,
            first + [fst.start for fst in fsts],
            np.concatenate([fst.source for fst in fsts]) + first[owner],
            arcs["nextstate"] + first[owner],
            arcs["ilabel"].astype(np.int64) - 1,
            -arcs["weight"].astype(np.float64),
            owner,
            np.repeat(np.arange(len(fsts)), sizes),
            -np.concatenate([fst.final for fst in fsts]).astype(np.float64),
        )


def _lay_out_frames(joint: _Joint, supervision: Supervision) -> NumeratorArcs:
    """FSTs of frames: each state is at one frame alone."""
    times = np.concatenate([fst.state_times for fst in joint.fsts])
    order = np.argsort(times, kind="stable")
    num_states = np.bincount(times)
    place = np.empty(len(times), np.int64)
    place[order] = np.arange(len(times)) - np.repeat(np.cumsum(num_states) - num_states, num_states)
    by_frame = np.argsort(times[joint.source], kind="stable")
    frame = times[joint.source][by_frame]
    # An FST that could not be taken apart holds several sequences, one behind the other.
    owner, pdf, length = joint.arc_owner[by_frame], joint.pdf[by_frame], supervision.frames_per_sequence
    sequence = owner * (supervision.num_sequences // len(joint.fsts)) + frame // length
    last = order[len(order) - num_states[-1] :]
    shape = (supervision.num_sequences, length, supervision.label_dim)
    return NumeratorArcs(
        np.bincount(frame).tolist(),
        num_states.tolist(),
        torch.from_numpy(place[joint.source[by_frame]]),
        torch.from_numpy(place[joint.target[by_frame]]),
        torch.from_numpy((sequence * length + frame % length) * supervision.label_dim + pdf),
        torch.from_numpy(joint.log_prob[by_frame]),
        torch.zeros(int(num_states[0]), dtype=torch.float64),
        torch.from_numpy(joint.final[last]),
        torch.from_numpy(joint.state_owner[last]),
        len(joint.fsts),
        shape,
        float(supervision.weight),
    )


def _lay_out_unrolled(joint: _Joint, supervision: Supervision) -> NumeratorArcs:
    """End-to-end FSTs: every state is at every frame, and so is every arc."""
    length, pdfs = supervision.frames_per_sequence, supervision.label_dim
    num_states, num_arcs = len(joint.final), len(joint.source)
    first = (joint.arc_owner * length * pdfs + joint.pdf)[None] + pdfs * np.arange(length)[:, None]
    initial = np.full(num_states, -np.inf)
    initial[joint.first_state] = 0
    return NumeratorArcs(
        [num_arcs] * length,
        [num_states] * (length + 1),
        torch.from_numpy(np.tile(joint.source, length)),
        torch.from_numpy(np.tile(joint.target, length)),
        torch.from_numpy(first.reshape(-1)),
        torch.from_numpy(np.tile(joint.log_prob, length)),
        torch.from_numpy(initial),
        torch.from_numpy(joint.final),
        torch.from_numpy(joint.state_owner),
        len(joint.fsts),
        (supervision.num_sequences, length, pdfs),
        float(supervision.weight),
    )


@dataclass
class Numerator:
    """The result.

    Args:
        log_prob: (FSTs,) float64, of the permitted sequences of pdfs.
        occupation: (N, T, pdfs) like the output, the derivative of the sum of ``log_prob``; None where it was not asked
            for.
    """

    log_prob: Tensor
    occupation: Tensor | None


def numerator(arcs: NumeratorArcs | PaddedArcs, output: Tensor, with_derivative: bool) -> Numerator:
    """Sums over all paths that the supervision permits.

    Args:
        arcs: of the supervision.
        output: (N, T, pdfs), log-likelihoods.
        with_derivative: whether the derivative is computed too.

    Raises:
        DataError: the output is not of the supervision's shape.
    """
    if tuple(output.shape) != arcs.shape:
        raise DataError(f"the supervision is for an output of {arcs.shape}, and the network's is {tuple(output.shape)}")
    log_prob, occupation = arcs.sums(output.detach(), with_derivative)
    return Numerator(log_prob, None if occupation is None else occupation.to(output.dtype))
