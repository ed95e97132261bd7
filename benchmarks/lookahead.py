"""Time and memory of composing a look-ahead graph: a lexicon of random words as a prefix tree, and random bigrams.

    python benchmarks/lookahead.py [--words 20000] [--bigrams 20]

Words have 3 to 8 of 40 phones, each phone one HMM state. Peak memory is that of the process, input included.
"""

from __future__ import annotations

import resource
import time

import click
import numpy as np

from kaldi_quant.decode.lookahead import compose_lookahead
from kaldi_quant.kaldi.fst import ARC, Fst

PHONES, SHORTEST, LONGEST = 40, 3, 8
LOOP, BACKOFF_TID, COST = 1000, 2000, 0.7
Arcs = list[list[tuple[int, int, float, int]]]


def fst(arcs: Arcs, final: np.ndarray) -> Fst:
    offsets = np.cumsum([0] + [len(some) for some in arcs])
    return Fst("const", 0, final.astype(np.float32), offsets, np.array([arc for some in arcs for arc in some], ARC))


def lexicon(words: list[tuple[int, ...]]) -> Fst:
    """Its words are numbered in their order, so that what can follow a beginning are runs of numbers."""
    arcs: Arcs = [[(BACKOFF_TID, len(words) + 1, 0.0, 0)]]
    states: dict[tuple[int, ...], int] = {(): 0}
    for number, word in enumerate(words):
        for length in range(1, len(word) + 1):
            prefix = word[:length]
            if prefix not in states:
                states[prefix] = len(arcs)
                arcs.append([(LOOP + prefix[-1], 0, COST, states[prefix])])
                arcs[states[prefix[:-1]]].append((prefix[-1], 0, COST, states[prefix]))
        arcs[states[word]].append((0, number + 1, 0.0, 0))
    final = np.full(len(arcs), np.inf)
    final[0] = 0.0
    return fst(arcs, final)


def grammar(words: int, bigrams: int, random: np.random.Generator) -> Fst:
    arcs: Arcs = [[(word, word, float(random.uniform(4, 12)), word) for word in range(1, words + 1)]]
    for _ in range(words):
        behind = np.unique(random.integers(1, words + 1, bigrams)).tolist()
        arcs.append([(word, word, float(random.uniform(1, 5)), word) for word in behind])
        arcs[-1].append((words + 1, 0, 1.0, 0))
    return fst(arcs, np.ones(words + 1))


@click.command()
@click.option("--words", default=20_000, show_default=True)
@click.option("--bigrams", default=20, show_default=True, help="Behind each word.")
def main(words: int, bigrams: int) -> None:
    """Print what composing takes."""
    random = np.random.default_rng(0)
    made = {
        tuple(random.integers(1, PHONES + 1, random.integers(SHORTEST, LONGEST + 1)).tolist()) for _ in range(words)
    }
    first, second = lexicon(sorted(made)), grammar(len(made), bigrams, random)
    begin = time.process_time()
    graph = compose_lookahead(first, second, [BACKOFF_TID])
    took, peak = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(made)} words, {len(second.arcs)} arcs of the grammar, {len(first.arcs)} of the lexicon:")
    print(f"{graph.num_states} states, {len(graph.arcs)} arcs, {took:.1f} s of the processor, {peak:.0f} MB")


if __name__ == "__main__":
    main()
