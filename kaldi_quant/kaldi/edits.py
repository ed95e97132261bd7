"""Kaldi's language of edits: what ``nnet3-copy --edits`` and ``--edits-config`` change in a network.

Source: ``ReadEditConfig`` in ``src/nnet3/nnet-utils.cc``. An edit is a config line, such as
``rename-node old-name=output-0 new-name=output``; all of Kaldi's directives are there. In names ``*`` stands for
anything.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from kaldi_quant.errors import KaldiQuantError, UsageError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_edits import (
    AFFINE_TYPES,
    DROPOUT_TYPES,
    check_finite,
    fixed_affine,
    is_updatable,
    with_dropout_proportion,
    with_learning_rate,
    with_learning_rate_factor,
    with_rank,
)
from kaldi_quant.kaldi.config_line import ConfigLine, is_valid_name, read_config_lines
from kaldi_quant.kaldi.low_rank import Svd, apply_svd
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet, OutputNode
from kaldi_quant.kaldi.node_sources import redirected
from kaldi_quant.kaldi.orphans import without_orphan_components, without_orphan_nodes, without_orphans
from kaldi_quant.kaldi.patterns import matches

_log = logging.getLogger(__name__)

_Change = Callable[[Component], Component]


def apply_edits(nnet: Nnet, text: str, source: str) -> Nnet:
    """Applies edits one after the other.

    Args:
        nnet: the network; it is left as it is.
        text: the edits, a line each; comments and blank lines are left out.
        source: where they come from, for messages: an option or a file.

    Raises:
        UsageError: an edit is unknown, malformed or impossible for this network; names it.
    """
    for line in read_config_lines(text):
        try:
            edit = ConfigLine.parse(line)
            if edit.first not in _DIRECTIVES:
                raise ValueError(f"{edit.first[:40]!r} is none of {', '.join(_DIRECTIVES)}")
            nnet = _DIRECTIVES[edit.first](nnet, edit)
            nnet.check()
        except (ValueError, KaldiQuantError) as error:
            raise UsageError(f"{source}: the edit {line[:100]!r} is impossible: {error}") from error
    return nnet


def _change(nnet: Nnet, pattern: str, applies: Callable[[Component], bool], change: _Change, done: str) -> Nnet:
    """Changes the components whose names match a pattern and that a change applies to."""
    chosen = [name for name, part in nnet.components.items() if matches(name, pattern) and applies(part)]
    components = dict(nnet.components)
    for name in chosen:
        components[name] = change(components[name])
    (_log.info if chosen else _log.warning)("%s %d components", done, len(chosen))
    return replace(nnet, components=components)


def _pattern(edit: ConfigLine) -> str:
    """The components that an edit is about, by default all."""
    return edit.take("name") if "name" in edit.values else "*"


def _convert_to_fixed_affine(nnet: Nnet, edit: ConfigLine) -> Nnet:
    pattern = _pattern(edit)
    edit.finish()
    return _change(nnet, pattern, _is_affine, fixed_affine, "converted to FixedAffineComponent:")


def _remove_orphan_nodes(nnet: Nnet, edit: ConfigLine) -> Nnet:
    inputs = edit.take_bool("remove-orphan-inputs", default=False)
    edit.finish()
    return without_orphan_nodes(nnet, inputs)


def _remove_orphan_components(nnet: Nnet, edit: ConfigLine) -> Nnet:
    edit.finish()
    return without_orphan_components(nnet)


def _remove_orphans(nnet: Nnet, edit: ConfigLine) -> Nnet:
    inputs = edit.take_bool("remove-orphan-inputs", default=False)
    edit.finish()
    return without_orphans(nnet, inputs)


def _set_learning_rate(nnet: Nnet, edit: ConfigLine) -> Nnet:
    pattern, rate = _pattern(edit), edit.take_real("learning-rate")
    edit.finish()
    return set_learning_rate(nnet, rate, pattern)


def set_learning_rate(nnet: Nnet, rate: float, pattern: str = "*") -> Nnet:
    """The network with another learning rate of components whose names match a pattern.

    Raises:
        ValueError: the rate is negative or no number.
    """
    if rate < 0:
        raise ValueError(f"a learning rate cannot be negative, found {rate:g}")
    if not math.isfinite(rate):
        raise ValueError(f"a learning rate is a finite number, found {rate:g}")
    return _change(nnet, pattern, is_updatable, partial(with_learning_rate, rate=rate), "set learning rates:")


def _set_learning_rate_factor(nnet: Nnet, edit: ConfigLine) -> Nnet:
    pattern, factor = _pattern(edit), edit.take_real("learning-rate-factor")
    edit.finish()
    if factor < 0:
        raise ValueError(f"a learning rate's factor cannot be negative, found {factor:g}")
    change = partial(with_learning_rate_factor, factor=factor)
    return _change(nnet, pattern, is_updatable, change, "set learning-rate factors:")


def _rename_node(nnet: Nnet, edit: ConfigLine) -> Nnet:
    old, new = edit.take("old-name"), edit.take("new-name")
    edit.finish()
    if old not in nnet.nodes:
        raise ValueError(f"there is no node {old[:80]!r}")
    # Kaldi gives the input of a component node a name of its own.
    hidden = {f"{node.name}_input" for node in nnet.nodes_of(ComponentNode)}
    if new in nnet.nodes or new in hidden:
        raise ValueError(f"there is a node {new[:80]!r} already")
    if not is_valid_name(new):
        raise ValueError(f"{new[:80]!r} is no name of a node")
    renamed = replace(nnet.nodes[old], name=new)
    nodes = [renamed if node.name == old else node for node in nnet.nodes.values()]
    return Nnet.of_nodes([redirected(node, {old: renamed}) for node in nodes], nnet.components, nnet.path)


def _remove_output_nodes(nnet: Nnet, edit: ConfigLine) -> Nnet:
    pattern = edit.take("name")
    edit.finish()
    kept = [node for node in nnet.nodes.values() if not (isinstance(node, OutputNode) and matches(node.name, pattern))]
    if not any(isinstance(node, OutputNode) for node in kept):
        raise ValueError("it would leave no output")
    _log.info("output nodes removed: %d", len(nnet.nodes) - len(kept))
    return Nnet.of_nodes(kept, nnet.components, nnet.path)


def _set_dropout_proportion(nnet: Nnet, edit: ConfigLine) -> Nnet:
    pattern, proportion = _pattern(edit), edit.take_real("proportion")
    edit.finish()
    if not 0 <= proportion <= 1:
        raise ValueError(f"a proportion lies between 0 and 1, found {proportion:g}")
    change = partial(with_dropout_proportion, proportion=proportion)
    return _change(nnet, pattern, lambda part: part.type in DROPOUT_TYPES, change, "set dropout proportions:")


def _apply_svd(nnet: Nnet, edit: ConfigLine) -> Nnet:
    svd = Svd(
        edit.take("name"),
        edit.take_int("bottleneck-dim", -1),
        edit.take_real("energy-threshold", -1.0),
        edit.take_real("shrinkage-threshold", 1.0),
    )
    edit.finish()
    return apply_svd(nnet, svd)


def _reduce_rank(nnet: Nnet, edit: ConfigLine) -> Nnet:
    pattern, rank = edit.take("name"), edit.take_int("rank")
    edit.finish()
    if rank <= 0:
        raise ValueError(f"a rank is positive, found {rank}")

    def applies(part: Component) -> bool:
        # Others have no larger rank anyway.
        return _is_affine(part) and min(part["LinearParams"].shape) > rank

    for name, part in nnet.components.items():
        if matches(name, pattern) and applies(part):
            check_finite(name, part)
    return _change(nnet, pattern, applies, partial(with_rank, rank=rank), "reduced the rank:")


def _is_affine(component: Component) -> bool:
    return component.type in AFFINE_TYPES


_DIRECTIVES: dict[str, Callable[[Nnet, ConfigLine], Nnet]] = {
    "convert-to-fixed-affine": _convert_to_fixed_affine,
    "remove-orphan-nodes": _remove_orphan_nodes,
    "remove-orphan-components": _remove_orphan_components,
    "remove-orphans": _remove_orphans,
    "set-learning-rate": _set_learning_rate,
    "set-learning-rate-factor": _set_learning_rate_factor,
    "rename-node": _rename_node,
    "remove-output-nodes": _remove_output_nodes,
    "set-dropout-proportion": _set_dropout_proportion,
    "apply-svd": _apply_svd,
    "reduce-rank": _reduce_rank,
}
