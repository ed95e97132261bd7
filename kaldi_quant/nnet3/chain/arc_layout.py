"""The FSTs of a supervision laid out as arcs, frame by frame: arrays for the numerator, made without torch.

FSTs of frames and end-to-end ones both become arcs from the states at one frame to those at the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.supervision_fst import SupervisionFst
from kaldi_quant.kaldi.supervision_join import take_apart


@dataclass(frozen=True)
class ArcLayout:
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
    source: np.ndarray
    target: np.ndarray
    element: np.ndarray
    log_prob: np.ndarray
    initial: np.ndarray
    final: np.ndarray
    owner: np.ndarray
    num_fsts: int
    shape: tuple[int, int, int]
    weight: float

    @classmethod
    def of(cls, supervision: Supervision) -> ArcLayout:
        """Lays out the FSTs of a supervision."""
        fsts = supervision.fsts
        if not supervision.end_to_end and len(fsts) < supervision.num_sequences:
            fsts = [part for fst in fsts for part in take_apart(fst, supervision.num_sequences // len(fsts))]
        return (_lay_out_unrolled if supervision.end_to_end else _lay_out_frames)(_Joint.of(fsts), supervision)

    def padded(self) -> PaddedLayout:
        """Where the arcs are, with room for an equal number at every state."""
        states = rounded_up(max(self.num_states))

        def filled(values: np.ndarray, filling: float) -> np.ndarray:
            return np.concatenate([values, np.full(states - len(values), filling, values.dtype)])

        return PaddedLayout(
            _places(self.num_arcs, states, self.target),
            _places(self.num_arcs, states, self.source),
            _narrow(self.source, states),
            _narrow(self.target, states),
            _narrow(self.element, math.prod(self.shape)),
            self.log_prob,
            filled(self.initial, -np.inf),
            filled(self.final, -np.inf),
            filled(self.owner, 0),
            self.num_fsts,
            self.shape,
            self.weight,
        )


@dataclass(frozen=True)
class Places:
    """Where arcs have their place among those of the states at one of their ends.

    Args:
        shape: frames, arcs and states.
        place: (arcs,) int32 or int64, counted through.
    """

    shape: tuple[int, int, int]
    place: np.ndarray


@dataclass(frozen=True)
class PaddedLayout:
    """The arcs, and where they are in ``PaddedArcs``, which has several times their size.

    Args:
        entering: places at the states that they lead to.
        leaving: places at those that they come from.
        source, target, element, log_prob: as above, (arcs,); integers are int32 where that is enough.
        initial, final, owner: as in ``PaddedTensors``.
        num_fsts, shape, weight: as above.
    """

    entering: Places
    leaving: Places
    source: np.ndarray
    target: np.ndarray
    element: np.ndarray
    log_prob: np.ndarray
    initial: np.ndarray
    final: np.ndarray
    owner: np.ndarray
    num_fsts: int
    shape: tuple[int, int, int]
    weight: float


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


def _lay_out_frames(joint: _Joint, supervision: Supervision) -> ArcLayout:
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
    return ArcLayout(
        np.bincount(frame).tolist(),
        num_states.tolist(),
        place[joint.source[by_frame]],
        place[joint.target[by_frame]],
        (sequence * length + frame % length) * supervision.label_dim + pdf,
        joint.log_prob[by_frame],
        np.zeros(int(num_states[0])),
        joint.final[last],
        joint.state_owner[last],
        len(joint.fsts),
        shape,
        float(supervision.weight),
    )


def _lay_out_unrolled(joint: _Joint, supervision: Supervision) -> ArcLayout:
    """End-to-end FSTs: every state is at every frame, and so is every arc."""
    length, pdfs = supervision.frames_per_sequence, supervision.label_dim
    num_states, num_arcs = len(joint.final), len(joint.source)
    first = (joint.arc_owner * length * pdfs + joint.pdf)[None] + pdfs * np.arange(length)[:, None]
    initial = np.full(num_states, -np.inf)
    initial[joint.first_state] = 0
    return ArcLayout(
        [num_arcs] * length,
        [num_states] * (length + 1),
        np.tile(joint.source, length),
        np.tile(joint.target, length),
        first.reshape(-1),
        np.tile(joint.log_prob, length),
        initial,
        joint.final,
        joint.state_owner,
        len(joint.fsts),
        (supervision.num_sequences, length, pdfs),
        float(supervision.weight),
    )


def _places(num_arcs: list[int], states: int, own: np.ndarray) -> Places:
    """Shares out the arcs of all frames among the states at one of their ends.

    Args:
        num_arcs: (frames,) of each frame; the arcs of a frame follow those of the frame before it.
        states: room for so many, at every frame.
        own: (arcs,), the state that each belongs to.
    """
    frames = len(num_arcs)
    frame = np.repeat(np.arange(frames), num_arcs)
    group = frame * states + own
    counts = np.bincount(group, minlength=frames * states)
    order = np.argsort(group, kind="stable")
    rank = np.empty(len(own), np.int64)
    rank[order] = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    # 4, 16, 64 and so on: work that differs in its sizes is recorded anew.
    most = 4 ** max(-(-int(counts.max() - 1).bit_length() // 2), 1)
    return Places((frames, most, states), _narrow((frame * most + rank) * states + own, frames * most * states))


def _narrow(values: np.ndarray, limit: int) -> np.ndarray:
    """Values below a limit in 32 bits, where they fit."""
    return values.astype(np.int32 if limit <= 2**31 else np.int64)


def rounded_up(number: int) -> int:
    """A number that is at most by half larger, so that there are few of them."""
    step = 1 << max(number.bit_length() - 2, 0)
    return -(-number // step) * step
