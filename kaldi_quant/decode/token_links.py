"""Tokens of a search, frame by frame, with the links between them: dropped where they are of no use, or as a lattice.

Source: ``PruneForwardLinks`` and ``GetRawLattice`` in ``src/decoder/lattice-faster-decoder.cc`` of Kaldi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kaldi_quant.decode.graph_arcs import GraphArcs
from kaldi_quant.kaldi.lattice import CompactLattice

# Extra costs that change by less than this part of the beam are not followed further back: ``prune_scale``.
_PRUNE_SCALE = 0.1
_NONE = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Links:
    """Arcs of the graph between tokens.

    Args:
        source, target: (n,) int64, places of tokens in their frames.
        arc: (n,) int64, of the graph.
        graph, acoustic: (n,) float64, costs.
    """

    source: np.ndarray
    target: np.ndarray
    arc: np.ndarray
    graph: np.ndarray
    acoustic: np.ndarray

    @classmethod
    def none(cls) -> Links:
        """No links."""
        places, costs = np.zeros(0, np.int64), np.zeros(0)
        return cls(places, places, places, costs, costs)

    def only(self, which: np.ndarray) -> Links:
        """Some of them."""
        return Links(*(column[which] for column in (self.source, self.target, self.arc, self.graph, self.acoustic)))


@dataclass(frozen=True)
class TokenFrame:
    """The tokens of a frame.

    Args:
        state: (tokens,) int64, of the graph.
        cost: (tokens,) float64, of the best path to each.
        back: (tokens,) int64: the token that this path comes from, of this frame where no frame was taken; -1 at the
            start.
        back_arc: (tokens,) int64, the last arc of this path.
        entering: links from the frame before.
        inside: links that take no frame.
        extra: (tokens,) float64: what the best path through each costs more than the best path; None where this was
            not looked at yet.
    """

    state: np.ndarray
    cost: np.ndarray
    back: np.ndarray
    back_arc: np.ndarray
    entering: Links
    inside: Links
    extra: np.ndarray | None = None


def pruned(
    frames: Sequence[TokenFrame], graph: GraphArcs, beam: float, ending: np.ndarray | None = None
) -> list[TokenFrame]:
    """Drops links on no path within a beam, and the tokens that lose all of theirs.

    Args:
        frames: none of them without tokens.
        graph: of the search.
        beam: the lattice beam.
        ending: (tokens,) float64: what it costs more than the best path to end in each token of the last frame; None
            where the search goes on, so that any may turn out best.
    """
    done = list(frames)
    last = len(done) - 1
    extra = np.zeros(len(done[last].cost)) if ending is None else ending
    for number in range(last, -1, -1):
        frame = done[number]
        through = _through(frame.inside, frame.cost, frame.cost)
        extra = _settled(frame.inside, through, extra)
        kept = extra <= beam
        # Where nothing changes here, nothing does before.
        known = frame.extra if number < last and ending is None else None
        if known is not None and kept.all() and float(np.abs(extra - known).max()) <= beam * _PRUNE_SCALE:
            break
        place = np.cumsum(kept) - 1
        inside = frame.inside.only(extra[frame.inside.target] + through <= beam)
        # Best paths come from tokens that are kept: those that do not come from the frame before are of this one.
        is_inside = (frame.back >= 0) & (graph.ilabel[frame.back_arc] == 0)
        done[number] = TokenFrame(
            frame.state[kept],
            frame.cost[kept],
            _moved(frame.back, is_inside, place)[kept],
            frame.back_arc[kept],
            frame.entering,
            replace(inside, source=place[inside.source], target=place[inside.target]),
            extra[kept],
        )
        if number < last:
            done[number + 1] = _renumbered(done[number + 1], graph, place)
        if number:
            entering, before = frame.entering, done[number - 1]
            on = extra[entering.target] + _through(entering, before.cost, frame.cost)
            which = on <= beam
            entering = entering.only(which)
            done[number] = replace(done[number], entering=replace(entering, target=place[entering.target]))
            extra = np.full(len(before.cost), np.inf)
            np.minimum.at(extra, entering.source, on[which])
    return done


def _through(links: Links, before: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """What a path to the target of each link costs more through it than the best one."""
    return before[links.source] + (links.graph + links.acoustic) - behind[links.target]


def _settled(inside: Links, through: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """The extra costs of a frame's tokens where also paths along links that take no frame are looked at."""
    while True:
        better = extra.copy()
        np.minimum.at(better, inside.source, extra[inside.target] + through)
        if np.array_equal(better, extra):
            return better
        extra = better


def _renumbered(frame: TokenFrame, graph: GraphArcs, place: np.ndarray) -> TokenFrame:
    """A frame where tokens of the frame before have other places."""
    back = _moved(frame.back, (frame.back >= 0) & (graph.ilabel[frame.back_arc] != 0), place)
    return replace(frame, back=back, entering=replace(frame.entering, source=place[frame.entering.source]))


def _moved(back: np.ndarray, which: np.ndarray, place: np.ndarray) -> np.ndarray:
    moved = back.copy()
    moved[which] = place[back[which]]
    return moved


def token_lattice(frames: Sequence[TokenFrame], graph: GraphArcs, use_final_probs: bool = True) -> CompactLattice:
    """A lattice with a state for each token; its start is the first token.

    Args:
        frames: none of them without tokens.
        graph: of the search.
        use_final_probs: whether tokens of the last frame end at the cost of their states; else, or where none of these
            is final, all end at no cost.
    """
    counts = [len(frame.cost) for frame in frames]
    firsts = np.cumsum([0, *counts])
    rows = []
    for number, frame in enumerate(frames):
        for links, before in ((frame.entering, number - 1), (frame.inside, number)):
            rows.append((links.source + firsts[before], links.target + firsts[number], links))
    source = np.concatenate([source for source, _, _ in rows])
    order = np.argsort(source, kind="stable")
    target = np.concatenate([target for _, target, _ in rows])[order]
    arc = np.concatenate([links.arc for *_, links in rows])[order]
    cost = np.concatenate([np.column_stack([links.graph, links.acoustic]) for *_, links in rows])[order]
    final = np.full((firsts[-1], 2), np.inf, np.float32)
    ending = graph.final[frames[-1].state]
    if not use_final_probs or not np.isfinite(ending).any():
        ending = np.zeros(counts[-1])
    final[firsts[-2] :, 0] = ending
    final[firsts[-2] :, 1] = np.where(np.isfinite(ending), 0, np.inf)
    labels = graph.ilabel[arc].tolist()
    strings = {label: np.array([label] if label else [], np.int32) for label in set(labels)}
    return CompactLattice(
        0,
        final,
        [_NONE] * int(firsts[-1]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(source, minlength=firsts[-1]))]),
        graph.olabel[arc],
        cost.astype(np.float32),
        target.astype(np.int32),
        [strings[label] for label in labels],
    )
