"""Affine components replaced by two of a smaller rank, by singular values.

Source: ``SvdApplier`` in ``src/nnet3/nnet-utils.cc``; J. Xue, J. Li, Y. Gong, "Restructuring of deep neural network
acoustic models with singular value decomposition", Interspeech 2013.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_edits import AFFINE_TYPES, check_finite, halves, singular_parts
from kaldi_quant.kaldi.descriptor import NodeName
from kaldi_quant.kaldi.nnet import ComponentNode, InputNode, Nnet, Node
from kaldi_quant.kaldi.node_sources import redirected
from kaldi_quant.kaldi.orphans import without_orphans
from kaldi_quant.kaldi.patterns import matches

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Svd:
    """What is decomposed, and how far.

    Args:
        pattern: the names of components.
        rank: the bottleneck's dimension, where no energy is given.
        energy: the share of the squared singular values that is to be kept; the rank follows from it.
        shrinkage: components that would keep a larger share of their parameters are left as they are.
    """

    pattern: str
    rank: int
    energy: float
    shrinkage: float

    def __post_init__(self) -> None:
        if self.rank <= 0 and self.energy <= 0:
            raise ValueError("it needs bottleneck-dim= or energy-threshold=, a positive one")
        if self.energy >= 1:
            raise ValueError(f"energy-threshold lies below 1, found {self.energy:g}")
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage-threshold lies above 0 and is 1 at most, found {self.shrinkage:g}")


def apply_svd(nnet: Nnet, svd: Svd) -> Nnet:
    """Replaces components by a linear one, its name with ``_a``, and an affine one, with ``_b``; nodes likewise.

    As in Kaldi, orphans are removed as well.

    Raises:
        ValueError: a component's values are not finite, or a name with _a or _b is taken.
    """
    decomposed: dict[str, tuple[Component, Component]] = {}
    rank = svd.rank
    for name, component in nnet.components.items():
        if not matches(name, svd.pattern):
            continue
        if component.type not in AFFINE_TYPES:
            _log.warning("%s is a %s and no affine component: it is left as it is", name, component.type)
            continue
        rows, columns = component["LinearParams"].shape
        # With energies this is the rank of the component before, as in Kaldi.
        if min(rows, columns) <= rank:
            _log.warning("%s has %d columns and %d rows: it is left as it is", name, columns, rows)
            continue
        check_finite(name, component)
        parts = singular_parts(component)
        rank = _rank_for(parts[1], svd.energy) if svd.energy > 0 else rank
        if rank * (rows + columns) > svd.shrinkage * rows * columns:
            _log.info("%s would keep too large a share of its parameters at rank %d: it is left as it is", name, rank)
            continue
        decomposed[name] = halves(component, parts, rank)
        _log.info("%s: %d x %d by rank %d", name, rows, columns, rank)
    return _with_halves(nnet, decomposed) if decomposed else nnet


def _rank_for(values: np.ndarray, share: float) -> int:
    """The least rank that keeps the share of energy (``GetReducedDimension``)."""
    energies = values**2
    enough = np.cumsum(energies) >= share * energies.sum()
    return int(np.argmax(enough)) + 1 if enough.any() else len(energies)


def _with_halves(nnet: Nnet, decomposed: dict[str, tuple[Component, Component]]) -> Nnet:
    seconds = {
        node.name: ComponentNode(f"{node.name}_b", f"{node.component}_b", NodeName(f"{node.name}_a"))
        for node in nnet.nodes_of(ComponentNode)
        if node.component in decomposed
    }
    for names, taken in ((decomposed, nnet.components), (seconds, nnet.nodes)):
        for name in names:
            for half in (f"{name}_a", f"{name}_b"):
                if half in taken:
                    raise ValueError(f"the name {half} is taken")
    components = dict(nnet.components)
    for name, (first, second) in decomposed.items():
        components[f"{name}_a"], components[f"{name}_b"] = first, second
    nodes: list[Node] = []
    for node in nnet.nodes.values():
        node = redirected(node, seconds)
        if node.name in seconds:
            assert isinstance(node, ComponentNode)
            nodes.append(ComponentNode(f"{node.name}_a", f"{node.component}_a", node.input))
        nodes.append(seconds.get(node.name, node))
    # Kaldi puts inputs first when it makes the graph anew.
    nodes.sort(key=lambda node: not isinstance(node, InputNode))
    return without_orphans(Nnet.of_nodes(nodes, components, nnet.path))
