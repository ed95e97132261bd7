"""The modules that a graph calls as JSON and tensors, and back: layers, recurrences, and torch's own.

A module is described by its class, those attributes that are plain values, its tensors, and its modules. Attributes
that follow from others are made again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.errors import ModelError
from kaldi_quant.formats.container import Tensors
from kaldi_quant.formats.torch_graph.values import decoded, encoded
from kaldi_quant.torchnn.folding import ChannelOffset
from kaldi_quant.torchnn.forms import FORMS, Layer
from kaldi_quant.torchnn.forms.layer import FloatProduct
from kaldi_quant.torchnn.own_modules import REASON
from kaldi_quant.torchnn.recurrence import Recurrence
from kaldi_quant.torchnn.recurrent_cells import CELLS

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
#: The modules of this project by name; torch's have no point in theirs.
_OWN: dict[str, type[nn.Module]] = {
    f"kaldi_quant.{kind.__name__}": kind for kind in (*(FORMS[name] for name in FORMS), Recurrence, ChannelOffset)
}


def _complete_layer(layer: Layer) -> None:
    if not isinstance(vars(layer).get("name"), str):
        raise AttributeError("a layer has a name")
    layer.product = FloatProduct(layer.weight, layer.groups)


def _complete_recurrence(recurrence: Recurrence) -> None:
    cell = recurrence.cell = CELLS[recurrence.mode]
    # Older files do not have it: there, all that reads a hidden state reads it as it lies on its grid.
    remembers = vars(recurrence).setdefault("remembers", cell.remembers)
    if remembers not in (cell.remembers, cell.remembers or cell.adds_to_state):
        raise AttributeError(f"cells of {recurrence.mode} remember what they do not have")
    recurrence._taps = [{}]


# For modules of this project the attributes that follow from others, and what makes them.
_DERIVED: tuple[tuple[type[nn.Module], tuple[str, ...], Callable[[Any], None]], ...] = (
    (Layer, ("product",), _complete_layer),
    (Recurrence, ("cell", "_taps"), _complete_recurrence),
)


def encoded_module(path: str, module: nn.Module, without: Collection[str], tensors: Tensors) -> dict[str, Any]:
    """A module as JSON.

    Args:
        path: of the module.
        module: in test mode.
        without: the layers whose parameters are left out.
        tensors: takes the module's.

    Raises:
        ModelError: it is code of somebody else, or has an attribute that no file can hold.
    """
    kind = type(module)
    name = next((name for name, own in _OWN.items() if own is kind), kind.__name__)
    if _class_of(name) is not kind or module._forward_hooks or module._forward_pre_hooks:
        raise ModelError(f"{path} is a {kind.__name__}, whose code no file can hold")
    derived = {of for kinds, names, _ in _DERIVED if isinstance(module, kinds) for of in names}
    described: dict[str, Any] = {"class": name, "attributes": _encoded_attributes(path, module, derived)}
    if isinstance(module, Layer) and module.name in without:
        described["shape"] = list(module.weight.shape)
    else:
        for what, found in (("parameters", module._parameters), ("buffers", module._buffers)):
            described[what] = {
                name: None if value is None else encoded_tensor(f"{path}.{name}", value, tensors)
                for name, value in found.items()
            }
    described["modules"] = {
        name: None if child is None else encoded_module(f"{path}.{name}", child, without, tensors)
        for name, child in module._modules.items()
        if name not in derived
    }
    return {what: value for what, value in described.items() if value != {}}


def _encoded_attributes(path: str, module: nn.Module, derived: Collection[str]) -> dict[str, Any]:
    """The attributes that are plain values.

    Raises:
        ModelError: one is none, and does not follow from others.
    """
    found = {}
    for name, value in vars(module).items():
        if name not in _OF_EVERY_MODULE and name not in derived and name != REASON:
            try:
                found[name] = encoded(value)
            except ModelError as error:
                raise ModelError(f"{path} has an attribute {name} that cannot be written: {error}") from error
    return found


def encoded_tensor(path: str, value: Tensor, tensors: Tensors) -> dict[str, Any]:
    """A tensor's type and shape; its values become those of a tensor of the file, named by its path."""
    value = value.detach().cpu().contiguous()
    flat = value.flatten()
    if value.dtype not in (torch.float32, torch.int32):
        flat = flat.view(torch.uint8)
    tensors[f"{_PREFIX}{path}"] = flat.numpy()
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}


# Before the names of a graph's tensors, so that they are none of a layer.
_PREFIX = "network/"


def decoded_tensor(path: str, described: Any, take: Callable[[str, str], np.ndarray]) -> Tensor:
    """A tensor.

    Args:
        path: of the tensor.
        described: from ``encoded_tensor``.
        take: takes a vector of a type out of the file.

    Raises:
        ValueError: it is not as it is described.
    """
    if not isinstance(described, dict) or set(described) != {"dtype", "shape"}:
        raise ValueError(f"the tensor {path[:80]} should have a dtype and a shape")
    dtype, shape = decoded({"dtype": described["dtype"]}), described["shape"]
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise ValueError(f"the tensor {path[:80]} has the shape {str(shape)[:60]}")
    stored = {torch.float32: "float32", torch.int32: "int32"}.get(dtype, "uint8")
    try:
        return torch.from_numpy(take(f"{_PREFIX}{path}", stored).copy()).view(dtype).view(shape)
    except RuntimeError as error:
        raise ValueError(f"the tensor {path[:80]} has not as many values as its shape, {shape}, says") from error


def decoded_module(path: str, described: Any, take: Callable[[str, str], np.ndarray]) -> nn.Module:
    """The module that JSON describes, in test mode.

    Args:
        path: of the module.
        described: from ``encoded_module``.
        take: takes a vector of a type out of the file.

    Raises:
        ValueError: it describes none.
    """
    if not isinstance(described, dict) or not isinstance(described.get("class"), str):
        raise ValueError(f"the module {path[:80]} should be an object with a class")
    left = dict(described)
    kind = _class_of(left.pop("class"))
    if kind is None:
        raise ValueError(f"the module {path[:80]} is of an unknown class, {described['class'][:60]!r}")
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    for name, value in _object(path, left.pop("attributes", {})):
        if name in _OF_EVERY_MODULE or callable(getattr(kind, name, None)):
            raise ValueError(f"the module {path[:80]} cannot have an attribute {name[:60]!r}")
        setattr(module, name, decoded(value))
    if "shape" in left:
        _without_weights(path, module, left.pop("shape"))
    for name, value in _object(path, left.pop("parameters", {})):
        tensor = None if value is None else decoded_tensor(f"{path}.{name}", value, take)
        module.register_parameter(name, None if tensor is None else nn.Parameter(tensor, tensor.is_floating_point()))
    for name, value in _object(path, left.pop("buffers", {})):
        module.register_buffer(name, None if value is None else decoded_tensor(f"{path}.{name}", value, take))
    for name, inner in _object(path, left.pop("modules", {})):
        module.add_module(name, None if inner is None else decoded_module(f"{path}.{name}", inner, take))
    if left:
        raise ValueError(f"the module {path[:80]} has {min(left)[:60]!r}, which means nothing")
    for of, _, complete in _DERIVED:
        if isinstance(module, of):
            try:
                complete(module)
            except (AttributeError, KeyError) as error:
                raise ValueError(f"the module {path[:80]} is not whole: {error}") from error
    return module.eval()


def _without_weights(path: str, module: nn.Module, shape: Any) -> None:
    """Gives a layer zeros for the weights that are integers elsewhere in the file."""
    good = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and 0 < n < 1 << 24 for n in shape)
    if not good or not isinstance(module, Layer):
        raise ValueError(f"the module {path[:80]} has the shape {str(shape)[:60]}")
    module.weight = nn.Parameter(torch.zeros(shape))
    if "bias" not in vars(module):
        module.register_parameter("bias", None)


def _object(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise ValueError(f"the module {path[:80]} should have an object, not {str(value)[:60]!r}")
    yield from value.items()


def _class_of(name: str) -> type[nn.Module] | None:
    """The class of that name, of this project or of torch.nn."""
    if name in _OWN:
        return _OWN[name]
    found = getattr(nn, name, None)
    return found if isinstance(found, type) and issubclass(found, nn.Module) and not name.startswith("_") else None
