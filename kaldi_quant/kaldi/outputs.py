"""One output of a network chosen, for networks that have several, such as multilingual ones.

The network is rewritten once, where it is read: what was chosen is called ``output``, and the others are gone. All that
comes after, and all files that are made, know networks with one output alone.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from kaldi_quant.errors import ModelError, UsageError
from kaldi_quant.kaldi.model import AmNnetSimple, Model
from kaldi_quant.kaldi.nnet import Nnet, Node, OutputNode
from kaldi_quant.kaldi.orphans import without_orphans

#: What the output is called that everything is about, and the branch that helps chain training.
OUTPUT, XENT = "output", "output-xent"
# Kaldi's recipes call the same branch of another output so.
_XENT_SUFFIX = "-xent"

_log = logging.getLogger(__name__)


def output_names(nnet: Nnet) -> list[str]:
    """The output nodes, in file order."""
    return [node.name for node in nnet.nodes_of(OutputNode)]


def no_output(nnet: Nnet, name: str, advise: bool = True) -> str:
    """What is to be said where an output does not exist, and whether with the advice to choose another."""
    names = output_names(nnet)
    known = f"only {', '.join(names[:20])}{', …' if len(names) > 20 else ''}" if names else "nor any other"
    how = " (--output-node chooses one)" if advise and names and name == OUTPUT else ""
    return f"{nnet.path}: there is no output node {name[:80]}, {known}{how}"


def with_output(nnet: Nnet, name: str) -> Nnet:
    """The network with one of its outputs, called ``output``; its branch for training is called ``output-xent``.

    Args:
        nnet: the network; it is left as it is.
        name: the output node. For ``output`` the network stays whole.

    Raises:
        UsageError: there is no such output.
    """
    if name not in output_names(nnet):
        raise UsageError(no_output(nnet, name))
    if name == OUTPUT:
        return nnet
    renamed = {name: OUTPUT}
    if not name.endswith(_XENT_SUFFIX) and f"{name}{_XENT_SUFFIX}" in output_names(nnet):
        renamed[f"{name}{_XENT_SUFFIX}"] = XENT
    nodes: list[Node] = []
    for node in nnet.nodes.values():
        if not isinstance(node, OutputNode):
            nodes.append(node)
        elif node.name in renamed:
            nodes.append(replace(node, name=renamed[node.name]))
    taken = {OUTPUT, XENT} & {node.name for node in nodes if not isinstance(node, OutputNode)}
    if taken:
        taken_name = min(taken)
        rename = f"kaldi-quant copy --edits='rename-node old-name={taken_name} new-name=NEW'"
        raise ModelError(f"{nnet.path}: a hidden node has the name {taken_name}, which {name} needs: {rename} frees it")
    return without_orphans(Nnet.of_nodes(nodes, nnet.components, nnet.path))


def model_with_output(model: Model, name: str) -> Model:
    """A model with one of its network's outputs, called ``output``.

    Raises:
        UsageError: there is no such output.
    """
    nnet = with_output(model.nnet, name)
    return model if nnet is model.nnet else with_network(model, nnet)


def with_network(model: Model, nnet: Nnet) -> Model:
    """A model with another network; priors of another dimension than its output go, as in Kaldi."""
    if not isinstance(model.network, AmNnetSimple):
        return replace(model, network=nnet)
    priors, pdfs = model.network.priors, nnet.node_dim(OUTPUT)
    if len(priors) not in (0, pdfs):
        _log.warning("%s: its %d priors are left out, since the output has %d pdfs", model.path, len(priors), pdfs)
        priors = np.zeros(0, np.float32)
    return replace(model, network=replace(model.network, nnet=nnet, priors=priors))
