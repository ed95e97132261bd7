"""Which parameters of a network training changes, how Kaldi's components limit it, and the way back to the file.

What Kaldi does not train stays as it is: Fixed* components, and the statistics of BatchNormComponents, which are in
test mode. Source: ``UpdatableComponent`` in ``src/nnet3/nnet-component-itf.h``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet
from kaldi_quant.nnet3.graph import reachable_nodes
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.train.parameters import TrainedComponent

#: For each name of a module's parameter the fields that may hold it, of which a component has one.
_FIELDS = {
    "weight": ("LinearParams", "Params", "FilterParams"),
    "bias": ("BiasParams",),
    "scales": ("Scales", "Params"),
    "offsets": ("Offsets",),
    "output": ("Output",),
    "value": ("Output",),
    "peepholes": ("Params",),
    "w_h": ("w_h",),
}


def trained_components(model: AcousticModel, nnet: Nnet) -> list[TrainedComponent]:
    """The components of a model that training changes, in the order of the file; the others' gradients are not needed.

    Args:
        model: whose parameters are meant. Those of components that are not trained no longer require gradients.
        nnet: it was made from.

    Raises:
        ModelError: nothing in the network can be trained.
    """
    found = []
    for name in _component_names(model):
        component, module = nnet.components[name], model.component(name)
        parameters = dict(module.named_parameters(recurse=False))
        if not _is_updatable(component):
            for parameter in parameters.values():
                parameter.requires_grad_(False)
        elif parameters:
            limits = (
                float(component.get(field, default))
                for field, default in (
                    ("LearningRateFactor", 1.0),
                    ("MaxChange", 0.0),
                    ("L2Regularize", 0.0),
                    ("OrthonormalConstraint", 0.0),
                )
            )
            found.append(TrainedComponent(name, parameters, *limits))
    if not found:
        raise ModelError(f"{nnet.path}: no component of the network can be trained")
    return found


def trained_nnet(model: AcousticModel, nnet: Nnet) -> Nnet:
    """The network with a model's parameters, everything else as it stands in the file.

    Args:
        model: made from ``nnet`` and trained.
        nnet: is left as it is.
    """
    components = dict(nnet.components)
    for name in _component_names(model):
        component = components[name]
        if not _is_updatable(component):
            continue
        changed = Component(component.type, list(component.fields), component.closing)
        for key, parameter in model.component(name).named_parameters(recurse=False):
            field = next(field for field in _FIELDS[key] if field in component)
            values = parameter.detach().to("cpu", torch.float32).numpy()
            changed.replace(field, values.reshape(np.shape(component[field])).copy())
        components[name] = changed
    return replace(nnet, components=components)


def _component_names(model: AcousticModel) -> list[str]:
    used = reachable_nodes(model.nnet, *model.graph.outputs)
    names = {node.component for name in used if isinstance(node := model.nnet.nodes[name], ComponentNode)}
    return [name for name in model.nnet.components if name in names]


def _is_updatable(component: Component) -> bool:
    return not component.type.startswith("Fixed") and bool(component.get("IsUpdatable", True))
