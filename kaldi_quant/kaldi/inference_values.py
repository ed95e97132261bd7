"""Whether a network holds the values that inference needs: statistics that are there, parameters that are numbers.

Asked wherever a network is made ready to be executed or quantized. What only training uses does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.descriptor import Const, Descriptor, Scale
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet, OutputNode
from kaldi_quant.kaldi.training_statistics import inference_arrays

# Numbers that inference computes with; the others are of training.
_NUMBERS = ("Epsilon", "TargetRms", "Scale", "KeyScale", "VarianceFloor", "DropoutProportion")


def check_values(nnet: Nnet, names: Iterable[str]) -> None:
    """Checks the components and descriptors of some nodes.

    Args:
        nnet: the network.
        names: of the nodes that are to be computed.

    Raises:
        ModelError: statistics are missing, or a value is not finite; names the component or node.
    """
    checked: set[str] = set()
    for name in names:
        node = nnet.nodes[name]
        try:
            if isinstance(node, ComponentNode | OutputNode):
                _check_descriptor(node.input)
        except ValueError as error:
            raise ModelError(f"{nnet.path}: the input of node {name} cannot be used: {error}") from error
        if isinstance(node, ComponentNode) and node.component not in checked:
            checked.add(node.component)
            try:
                _check_component(nnet.components[node.component])
            except ValueError as error:
                raise ModelError(f"{nnet.path}: the component {node.component} cannot be used: {error}") from error


def _check_component(component: Component) -> None:
    """Raises ValueError in one sentence."""
    for part in component.get("NumComponents", []):
        _check_component(part)
    if component.type == "BatchNormComponent":
        _check_batch_norm(component)
    for field, values in inference_arrays(component):
        if not np.isfinite(values).all():
            place = ", ".join(map(str, np.argwhere(~np.isfinite(values))[0]))
            raise ValueError(f"<{field}> of {component.type} is not finite (NaN or infinity) at [{place}]")
    for field, value in component.fields:
        if field in _NUMBERS and not np.isfinite(value):
            raise ValueError(f"<{field}> of {component.type} is {value:g}")


def _check_batch_norm(component: Component) -> None:
    """Kaldi makes random statistics up where there are none, and says that something is very wrong."""
    if not (len(component["StatsMean"]) and len(component["StatsVar"]) and component["Count"] > 0):
        raise ValueError("BatchNormComponent has no statistics, so that it cannot be used in test mode")
    for field in ("Epsilon", "TargetRms"):
        if not component[field] > 0:
            raise ValueError(f"<{field}> of BatchNormComponent must be positive, found {component[field]:g}")


def _check_descriptor(descriptor: Descriptor) -> None:
    value = descriptor.scale if isinstance(descriptor, Scale) else 0.0
    value = descriptor.value if isinstance(descriptor, Const) else value
    if not np.isfinite(value):
        raise ValueError(f"{descriptor} holds {value:g}")
    for source in descriptor.sources():
        _check_descriptor(source)
