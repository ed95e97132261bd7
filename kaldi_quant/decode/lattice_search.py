"""Frame-synchronous search through a graph that leaves a lattice, on arrays: no loop goes over states.

Tokens stand for states of the graph that can be reached with so many frames; links, for arcs between tokens. Every few
frames, links on no path within the lattice beam of the best one are dropped, and tokens that lose all of theirs.
Source: ``LatticeFasterDecoder`` in ``src/decoder/lattice-faster-decoder.{h,cc}`` of Kaldi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kaldi_quant.decode.graph_arcs import GraphArcs
from kaldi_quant.decode.token_links import Links, TokenFrame, pruned, token_lattice
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.lattice import CompactLattice
from kaldi_quant.units import Frames


@dataclass(frozen=True)
class SearchOptions:
    """Kaldi's options of a lattice decoder, with its defaults.

    Attributes:
        beam: decoding beam.
        lattice_beam: what is dropped from the lattice.
        max_active, min_active: limits on active states: the beam narrows above the first and widens below the second.
        beam_delta: what the beam is wider than the limits ask for.
        prune_interval: frames after which links are dropped.
    """

    beam: float = 16.0
    lattice_beam: float = 10.0
    max_active: int = 2147483647
    min_active: int = 200
    beam_delta: float = 0.5
    prune_interval: Frames = 25


class LatticeSearch:
    """The search of one utterance.

    Args:
        graph: where to search.
        options: how.
    """

    def __init__(self, graph: GraphArcs, options: SearchOptions) -> None:
        self._graph, self._options = graph, options
        # The token of each state in the frame at work; -1 for none.
        self._token = np.full(graph.num_states, -1, np.int32)
        self._frames: list[TokenFrame] = []
        nothing = np.full(1, -1)
        first = TokenFrame(np.array([graph.start]), np.zeros(1), nothing, nothing, Links.none(), Links.none())
        self._close(first, options.beam)
        # Frames that were taken after all paths were lost.
        self._lost = 0

    @property
    def frames(self) -> Frames:
        """Frames that were taken."""
        return len(self._frames) - 1 + self._lost

    def accept(self, loglikes: np.ndarray) -> None:
        """Takes the next frames.

        Args:
            loglikes: (frames, pdfs) float32, scaled and finite.
        """
        for row in loglikes.astype(np.float64):
            if self._lost or not self._advance(row):
                self._lost += 1
            elif self.frames % self._options.prune_interval == 0:
                self._frames = pruned(self._frames, self._graph, self._options.lattice_beam)

    def _advance(self, row: np.ndarray) -> bool:
        """Takes a frame; whether any path goes on."""
        graph, last = self._graph, self._frames[-1]
        cutoff, beam = self._cutoff(last.cost)
        within = np.flatnonzero(last.cost <= cutoff)
        arcs, sources = graph.emitting.leaving(last.state[within])
        source = within[sources]
        acoustic = -row[graph.pdf[arcs]]
        total = last.cost[source] + graph.weight[arcs] + acoustic
        if not len(total):
            return False
        limit = float(total.min()) + beam
        kept = np.flatnonzero(total < limit)
        arcs, source, acoustic, total = arcs[kept], source[kept], acoustic[kept], total[kept]
        states, target = self._tokens_of(graph.target[arcs])
        cost = np.full(len(states), np.inf)
        np.minimum.at(cost, target, total)
        back, back_arc = np.full(len(states), -1), np.full(len(states), -1)
        best = np.flatnonzero(total == cost[target])
        back[target[best]], back_arc[target[best]] = source[best], arcs[best]
        links = Links(source, target, arcs, graph.weight[arcs], acoustic)
        self._close(TokenFrame(states, cost, back, back_arc, links, Links.none()), limit)
        return True

    def _cutoff(self, cost: np.ndarray) -> tuple[float, float]:
        """Up to what cost tokens go on, and the beam of the next frame."""
        options, best = self._options, float(cost.min())
        if len(cost) > options.max_active:
            limit = float(np.partition(cost, options.max_active)[options.max_active])
            if limit < best + options.beam:
                return limit, limit - best + options.beam_delta
        if len(cost) <= options.min_active:
            return math.inf, math.inf
        least = best
        if options.min_active:
            least = float(np.partition(cost, options.min_active)[options.min_active])
        if least > best + options.beam:
            return least, least - best + options.beam_delta
        return best + options.beam, options.beam

    def _tokens_of(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The different states of some, and the place of each among these; notes which token a state has."""
        numbers = np.arange(len(targets), dtype=np.int32)
        self._token[targets] = numbers
        first = np.flatnonzero(self._token[targets] == numbers)
        states = targets[first].astype(np.int64)
        self._token[states] = numbers[: len(states)]
        return states, self._token[targets].astype(np.int64)

    def _close(self, frame: TokenFrame, limit: float) -> None:
        """Adds what arcs without a transition-id lead to, and the frame."""
        graph = self._graph
        self._token[frame.state] = np.arange(len(frame.state), dtype=np.int32)
        state, cost, back, back_arc = frame.state, frame.cost, frame.back, frame.back_arc
        changed = np.flatnonzero(cost <= limit)
        while len(changed):
            arcs, sources = graph.epsilon.leaving(state[changed])
            source = changed[sources]
            total = cost[source] + graph.weight[arcs]
            kept = np.flatnonzero(total < limit)
            arcs, source, total = arcs[kept], source[kept], total[kept]
            targets = graph.target[arcs]
            new = np.unique(targets[self._token[targets] < 0]).astype(np.int64)
            self._token[new] = np.arange(len(state), len(state) + len(new), dtype=np.int32)
            state, cost = np.concatenate([state, new]), np.concatenate([cost, np.full(len(new), np.inf)])
            none = np.full(len(new), -1)
            back, back_arc = np.concatenate([back, none]), np.concatenate([back_arc, none])
            target = self._token[targets].astype(np.int64)
            before = cost[target]
            np.minimum.at(cost, target, total)
            best = np.flatnonzero((total == cost[target]) & (total < before))
            back[target[best]], back_arc[target[best]] = source[best], arcs[best]
            changed = np.unique(target[best])
        within = np.flatnonzero(cost <= limit)
        arcs, sources = graph.epsilon.leaving(state[within])
        source = within[sources]
        kept = np.flatnonzero(cost[source] + graph.weight[arcs] < limit)
        arcs, source = arcs[kept], source[kept]
        target = self._token[graph.target[arcs]].astype(np.int64)
        self._token[state] = -1
        links = Links(source, target, arcs, graph.weight[arcs], np.zeros(len(arcs)))
        self._frames.append(TokenFrame(state, cost, back, back_arc, frame.entering, links))

    def best_path(self) -> tuple[list[int], list[int], float]:
        """The best path so far, whether or not it may end here: transition-ids, words and cost.

        All empty, at infinite cost, where no path survives the beam.
        """
        if self._lost:
            return [], [], math.inf
        graph, cost = self._graph, self._frames[-1].cost
        arcs: list[int] = []
        frame, token = len(self._frames) - 1, int(np.argmin(cost))
        while self._frames[frame].back[token] >= 0:
            arc = int(self._frames[frame].back_arc[token])
            token = int(self._frames[frame].back[token])
            arcs.append(arc)
            frame -= bool(graph.ilabel[arc])
        arcs.reverse()
        ilabels, olabels = graph.ilabel[arcs], graph.olabel[arcs]
        return ilabels[ilabels != 0].tolist(), olabels[olabels != 0].tolist(), float(cost.min())

    def relative_cost(self) -> float:
        """What the best path that may end here costs more than the best path; infinite where none may."""
        if self._lost:
            return math.inf
        last = self._frames[-1]
        return float((last.cost + self._graph.final[last.state]).min() - last.cost.min())

    def lattice(self, use_final_probs: bool = True) -> CompactLattice:
        """The lattice of all frames so far, not determinized.

        Args:
            use_final_probs: whether only paths that may end here are wanted, if there are any; else each counts as one
                that may, at no cost.

        Raises:
            DataError: no path survives the beam.
        """
        if self._lost:
            raise DataError("no path through the graph survives the beam")
        last = self._frames[-1]
        final = self._graph.final[last.state]
        if not use_final_probs or not np.isfinite(final).any():
            final = np.zeros(len(last.cost))
        total = last.cost + final
        frames = pruned(self._frames, self._graph, self._options.lattice_beam, total - total.min())
        return token_lattice(frames, self._graph, use_final_probs)
