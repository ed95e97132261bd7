"""FSTs of type ``ngram``, in which Vosk's small models have their grammars: a language model in few bytes.

States are histories. They are numbered from the empty one on, as they lie in a tree in which a history's parent is
that without its oldest word, and whose edges are these words; bits tell how many children each has, and others how many
words can follow it. A word leads to the longest history that there is of its history and itself.

Source: ``src/include/fst/extensions/ngram/ngram-fst.h`` of OpenFST.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kaldi_quant.kaldi.fst import ARC, Fst, FstBytes, FstHeader, check_fst, open_fst, read_fst_header
from kaldi_quant.kaldi.fst_file import read_fst

_VERSION = 4
_NUMBER, _LABEL, _WEIGHT = np.dtype("<u8"), np.dtype("<i4"), np.dtype("<f4")


def read_grammar(path: str | Path) -> Fst:
    """Reads a grammar of type ``ngram``, ``vector`` or ``const``.

    Raises:
        FormatError: the file is missing, of another kind, truncated or inconsistent.
    """
    source = open_fst(path)
    header = read_fst_header(source)
    return _read_ngram(source, header) if header.fst_type == "ngram" else read_fst(path)


def _read_ngram(source: FstBytes, header: FstHeader) -> Fst:
    if header.arc_type != "standard" or header.version != _VERSION:
        source.fail(
            f"expected version {_VERSION} of an ngram FST of standard arcs, found {header.version} of "
            f"{header.arc_type!r}",
            0,
        )
    begin = source.position
    states, futures, finals = map(int, source.array(_NUMBER, 3, "numbers"))
    children, words_behind, is_final = (
        _bits(source, length, what)
        for length, what in (
            (2 * states + 1, "bits of histories"),
            (futures + states + 1, "bits of words"),
            (states, "bits of ends"),
        )
    )
    labels = source.array(_LABEL, states + 1, "words of histories")[:states]
    words = source.array(_LABEL, futures, "words")
    backoff = source.array(_WEIGHT, states + 1, "costs of histories")[:states]
    final_costs = source.array(_WEIGHT, finals, "costs of ends")
    costs = source.array(_WEIGHT, futures + 1, "costs of words")[:futures]
    if (children.sum(), words_behind.sum(), is_final.sum()) != (states, futures, finals) or states < 2:
        source.fail("the bits of an ngram FST are not those of its states and words", begin)
    parent = np.flatnonzero(children) - np.arange(states) - 1
    if not (np.all(parent[1:] < np.arange(1, states)) and np.all(parent[1:] >= 0)):
        source.fail("the histories of an ngram FST are no tree", begin)
    # Before each bit of a word stand as many zeros as there are states up to its own, and one more.
    state = np.flatnonzero(words_behind) - np.arange(futures) - 1
    if futures and not (state[0] >= 0 and state[-1] < states):
        source.fail("the words of an ngram FST are behind no state", begin)
    arcs = np.zeros(states - 1 + futures, ARC)
    arcs["weight"] = np.concatenate([backoff[1:], costs])
    arcs["ilabel"][states - 1 :] = arcs["olabel"][states - 1 :] = words
    arcs["nextstate"] = np.concatenate([parent[1:], _longest(parent, labels, state, words)])
    leaves = np.concatenate([np.arange(1, states), state])
    order = np.argsort(leaves, kind="stable")
    final = np.full(states, np.inf, np.float32)
    final[is_final] = final_costs
    offsets = np.concatenate([[0], np.cumsum(np.bincount(leaves, minlength=states))])
    found = Fst("ngram", 1, final, offsets, arcs[order])
    check_fst(found, source, begin)
    return found


def _bits(source: FstBytes, length: int, what: str) -> np.ndarray:
    """(length,) bool."""
    blocks = source.array(_NUMBER, -(-length // 64), what)
    return np.unpackbits(blocks.view(np.uint8), bitorder="little")[:length].astype(bool)


def _longest(parent: np.ndarray, labels: np.ndarray, state: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The state that each word leads to: the longest history of the words of its state and itself.

    Args:
        parent, labels: (states,), of the tree; of the first they have no meaning.
        state, words: (arcs,)
    """
    width = int(max(labels[1:].max(initial=0), words.max(initial=0))) + 1
    key = parent[1:].astype(np.int64) * width + labels[1:]
    order = np.argsort(key)
    key, child = key[order], order + 1

    def step(at: np.ndarray, label: np.ndarray) -> np.ndarray:
        """The children by some words; -1 where there is none."""
        wanted = at * np.int64(width) + label
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        return np.where(key[place] == wanted, child[place], -1)

    # The ways down to the states, from the newest word on: the ancestors of each, the oldest one first.
    depth = np.zeros(len(parent), np.int64)
    for at in range(1, len(parent)):
        depth[at] = depth[parent[at]] + 1
    found = np.maximum(step(np.zeros(len(words), np.int64), words), 0)
    going = np.flatnonzero(found > 0)
    for level in range(1, int(depth.max()) + 1):
        going = going[depth[state[going]] >= level]
        ancestor = state[going]
        for _ in range(int(depth.max()) - level):
            ancestor = np.where(depth[ancestor] > level, parent[ancestor], ancestor)
        further = step(found[going], labels[ancestor])
        going, further = going[further >= 0], further[further >= 0]
        found[going] = further
    return found
