"""The chain objective by its definition: in logarithms, arc by arc, one sequence at a time."""

import itertools

import numpy as np
import torch
from scipy.special import logsumexp

from kaldi_quant.kaldi.chain_supervision import Supervision
from kaldi_quant.kaldi.fst import ARC, Fst
from kaldi_quant.kaldi.supervision_fst import SupervisionFst

LIMIT = 30.0


def random_den_fst(states: int, pdfs: int, arcs: int, seed: int = 0) -> Fst:
    """A strongly connected graph, with several arcs between some states and several pdfs into most."""
    rng = np.random.default_rng(seed)
    source = np.sort(np.concatenate([np.arange(states), rng.integers(0, states, arcs - states)]))
    packed = np.empty(arcs, ARC)
    packed["nextstate"] = rng.integers(0, states, arcs)
    packed["nextstate"][np.unique(source, return_index=True)[1]] = (np.arange(states) + 1) % states
    packed["ilabel"] = packed["olabel"] = rng.integers(1, pdfs + 1, arcs)
    packed["weight"] = rng.uniform(0.5, 3, arcs)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=states))])
    final = np.where(rng.random(states) < 0.5, 1.0, np.inf).astype(np.float32)
    return Fst("vector", 1 % states, final, offsets, packed)


def random_supervision(
    sequences: int, frames: int, pdfs: int, weight: float = 1.0, end_to_end: bool = False, ends: int = 2
) -> Supervision:
    """FSTs of one to three states per frame and ``ends`` final ones, or with loops."""
    rng = np.random.default_rng(0)
    fsts = [_loops(pdfs, rng) if end_to_end else _lattice(frames, pdfs, ends, rng) for _ in range(sequences)]
    return Supervision(np.float32(weight), sequences, frames, pdfs, end_to_end, fsts)


def _lattice(frames: int, pdfs: int, ends: int, rng: np.random.Generator) -> SupervisionFst:
    width = [1, *rng.integers(1, 4, frames - 1), ends]
    first = np.cumsum([0, *width])
    arcs: list[tuple[int, int, int, float]] = []
    for t in range(frames):
        for source, target in itertools.product(range(width[t]), range(width[t + 1])):
            for label in rng.choice(pdfs, 2, replace=False) + 1:
                arcs.append((first[t] + source, int(label), first[t + 1] + target, float(rng.uniform(0, 2))))
    final = np.full(first[-1], np.inf, np.float32)
    final[first[-2] :] = [0.7, 0.1][:ends]
    return _fst(arcs, final)


def _loops(pdfs: int, rng: np.random.Generator) -> SupervisionFst:
    states = 4
    arcs = [(s, s, 1) for s in range(1, states)] + [(s, s + 1, 2) for s in range(states - 1)] + [(0, 2, 1), (3, 1, 1)]
    rows = [(s, int(rng.integers(1, pdfs + 1)), t, float(rng.uniform(0, 2))) for s, t, n in arcs for _ in range(n)]
    return _fst(sorted(rows), np.float32([np.inf, np.inf, 0.5, 0.25]))


def _fst(rows: list[tuple[int, int, int, float]], final: np.ndarray) -> SupervisionFst:
    arcs = np.array([(label, label, cost, target) for _, label, target, cost in rows], ARC)
    offsets = np.concatenate([[0], np.cumsum(np.bincount([row[0] for row in rows], minlength=len(final)))])
    return SupervisionFst(0, final, offsets, arcs)


def initial_probs(fst: Fst) -> np.ndarray:
    """The mean of 100 steps, with a dense matrix."""
    step = np.zeros((fst.num_states, fst.num_states))
    np.add.at(step, (fst.source, fst.nextstate), np.exp(-fst.weight.astype(float)))
    step /= (step.sum(1) + np.exp(-fst.final.astype(float)))[:, None]
    probs = np.eye(fst.num_states)[fst.start]
    steps = []
    for _ in range(100):
        steps.append(probs)
        probs = probs @ step
        probs /= probs.sum()
    return np.mean(steps, 0)


def den_log_prob(fst: Fst, output: np.ndarray, leaky: float) -> float:
    """The log-probability of all sequences of pdfs, output: (T, pdfs)."""
    start = np.log(np.maximum(initial_probs(fst), 1e-300))
    alpha = start
    for frame in np.clip(output, -LIMIT, LIMIT):
        alpha = np.logaddexp(alpha, np.log(leaky) + start + logsumexp(alpha))
        following = np.full(fst.num_states, -np.inf)
        np.logaddexp.at(following, fst.nextstate, alpha[fst.source] - fst.weight + frame[fst.ilabel - 1])
        alpha = following
    return float(logsumexp(np.logaddexp(alpha, np.log(leaky) + start + logsumexp(alpha))))


def num_log_prob(fst: SupervisionFst, output: np.ndarray) -> float:
    """The log-probability of the permitted sequences of pdfs, output: (T, pdfs); any FST without epsilons."""
    alpha = np.full(fst.num_states, -np.inf)
    alpha[fst.start] = 0
    for frame in output:
        following = np.full(fst.num_states, -np.inf)
        np.logaddexp.at(following, fst.nextstate, alpha[fst.source] - fst.weight + frame[fst.ilabel - 1])
        alpha = following
    return float(logsumexp(alpha - fst.final))


def random_output(sequences: int, frames: int, pdfs: int, seed: int = 0) -> torch.Tensor:
    """(N, T, pdfs) float64."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(sequences, frames, pdfs, generator=generator, dtype=torch.float64)
