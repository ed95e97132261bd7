"""A denominator graph and examples of published size, made here: random, and of the shape of Kaldi's."""

from pathlib import Path

import numpy as np

from kaldi_quant.kaldi.chain_example import NnetChainExample, NnetChainSupervision, NnetIo
from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.egs import example_writer
from kaldi_quant.kaldi.fst import ARC, Fst
from kaldi_quant.kaldi.general_matrix import CompressedMatrix
from kaldi_quant.kaldi.supervision_fst import SupervisionFst

#: What a chunk of 150 feature frames leaves behind subsampling by 3.
FRAMES = 50
SUBSAMPLING = 3


def published_fst(states: int = 30_000, arcs: int = 300_000, pdfs: int = 3_000) -> Fst:
    """A graph of the size of published ones: each state is entered by two pdfs, one of them in a loop to itself."""
    rng = np.random.default_rng(0)
    per_state = arcs // states
    entry = rng.integers(1, pdfs + 1, (states, 2))
    packed = np.empty((states, per_state), ARC)
    # Most arcs lead to states of a similar history, which have similar numbers.
    near = (np.arange(states)[:, None] + rng.integers(1, 200, (states, per_state))) % states
    far = rng.integers(0, states, (states, per_state))
    packed["nextstate"] = np.where(rng.random((states, per_state)) < 0.7, near, far)
    packed["nextstate"][:, 0] = np.arange(states)
    packed["ilabel"] = entry[packed["nextstate"], 0]
    packed["ilabel"][:, 0] = entry[:, 1]
    packed["olabel"] = packed["ilabel"]
    packed["weight"] = rng.uniform(1, 4, packed.shape)
    offsets = np.arange(states + 1) * per_state
    return Fst("vector", 0, np.zeros(states, np.float32), offsets, packed.reshape(-1))


def write_examples(path: Path, number: int, graph: Fst, pdfs: int, dim: int, context: tuple[int, int]) -> None:
    """Writes examples of 50 output frames: random features, and ways through the denominator with some tolerance.

    Args:
        path: of the archive.
        number: of examples.
        graph: the denominator.
        pdfs: of the model.
        dim: of its features.
        context: frames to the left and to the right that it needs.
    """
    random = np.random.default_rng(0)
    left, right = context
    times = np.arange(-left, SUBSAMPLING * (FRAMES - 1) + 1 + right)
    with example_writer(f"ark:{path}") as writer:
        for each in range(number):
            features = random.normal(scale=10, size=(len(times), dim)).astype(np.float32)
            fst = _tolerant(_labels(graph, random))
            supervision = Supervision(np.float32(1), 1, FRAMES, pdfs, False, [fst])
            output_times = _indexes(SUBSAMPLING * np.arange(FRAMES))
            output = NnetChainSupervision("output", output_times, supervision, np.ones(FRAMES, np.float32))
            example = NnetChainExample(
                [NnetIo("input", _indexes(times), CompressedMatrix.compress(features))], [output]
            )
            writer.write(f"random-{each}", example)


def _indexes(times: np.ndarray) -> np.ndarray:
    indexes = np.zeros((len(times), 3), np.int32)
    indexes[:, 1] = times
    return indexes


def _labels(graph: Fst, random: np.random.Generator) -> list[int]:
    """The labels of a random way through a graph."""
    state, labels = int(random.integers(graph.num_states)), []
    for _ in range(FRAMES):
        arc = graph.arcs[random.integers(graph.arc_offsets[state], graph.arc_offsets[state + 1])]
        labels.append(int(arc["ilabel"]))
        state = int(arc["nextstate"])
    return labels


def _tolerant(labels: list[int]) -> SupervisionFst:
    """Each label may come when it does, or a frame later: two states at each frame but the first and the last."""
    rows = [(0, labels[0], 1), (0, labels[0], 2)]
    for t in range(1, FRAMES):
        here, last = 2 * t - 1, t == FRAMES - 1
        for state, label in ((here, labels[t]), (here + 1, labels[t - 1])):
            rows += [(state, label, here + 2)] if last else [(state, label, here + 2), (state, label, here + 3)]
    arcs = np.array([(label, label, 0.7, target) for _, label, target in rows], ARC)
    states = 2 * FRAMES
    final = np.full(states, np.inf, np.float32)
    final[-1] = 0
    counts = np.bincount([source for source, _, _ in rows], minlength=states)
    return SupervisionFst(0, final, np.concatenate([[0], np.cumsum(counts)]), arcs)
