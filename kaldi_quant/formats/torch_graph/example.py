"""How a network is called: its arguments, and the example that it was traced with."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.utils import _pytree as pytree

from kaldi_quant.formats.container import Container, Tensors
from kaldi_quant.formats.fields import Fields
from kaldi_quant.formats.torch_graph.modules import decoded_tensor, encoded_tensor
from kaldi_quant.formats.torch_graph.values import Placeholder, decoded, encoded
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.host import noise_like

_PARAMETER_KINDS = {kind.name: kind for kind in inspect._ParameterKind}


def encoded_arguments(arguments: inspect.Signature) -> list[list[Any]]:
    """Of each argument its name, kind and default.

    Raises:
        ModelError: a default is nothing that a file can hold.
    """
    return [_encoded_parameter(each) for each in arguments.parameters.values()]


def _encoded_parameter(parameter: inspect.Parameter) -> list[Any]:
    found = [parameter.name, parameter.kind.name]
    if parameter.default is not parameter.empty:
        found.append(encoded(parameter.default))
    return found


def encoded_example(call: Call, tensors: Tensors) -> dict[str, Any]:
    """A call as JSON. Of floats the shapes alone; other numbers may say what is looked up."""
    inner = call.with_tensors([Placeholder(number) for number in range(len(call.tensors))])
    found: list[dict[str, Any]] = []
    for number, x in enumerate(call.tensors):
        if x.is_floating_point():
            found.append({"dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape)})
        else:
            found.append({"values": encoded_tensor(f"example.{number}", x, tensors)})
    return {"args": encoded(inner.args), "kwargs": encoded(dict(inner.kwargs)), "tensors": found}


def decoded_arguments(described: list[Any]) -> inspect.Signature:
    """The arguments.

    Raises:
        ValueError: there are none such.
    """
    return inspect.Signature([_decoded_parameter(each) for each in described])


def _decoded_parameter(described: Any) -> inspect.Parameter:
    if not isinstance(described, list) or len(described) not in (2, 3) or described[1] not in _PARAMETER_KINDS:
        raise ValueError(f"{str(described)[:60]!r} is no argument")
    default = decoded(described[2]) if len(described) == 3 else inspect.Parameter.empty
    return inspect.Parameter(described[0], _PARAMETER_KINDS[described[1]], default=default)


def decoded_example(container: Container, fields: Fields) -> Call:
    """The example, with noise in the place of floats.

    Raises:
        ValueError: it is malformed.
        FormatError: likewise.
    """
    tensors = []
    for number, found in enumerate(fields.take("tensors", list)):
        if "values" in found:
            tensors.append(decoded_tensor(f"example.{number}", found["values"], container.take))
        else:
            dtype, shape = decoded({"dtype": found["dtype"]}), found["shape"]
            if not all(type(size) is int and 0 <= size < 1 << 24 for size in shape) or not dtype.is_floating_point:
                raise ValueError(f"{str(found)[:60]!r} is no tensor of floats")
            tensors.append(torch.zeros((), dtype=dtype).expand(shape))
    values = decoded(fields.take("args", dict)), decoded(fields.take("kwargs", dict))
    fields.finish()
    places = [leaf.number for leaf in pytree.tree_leaves(values) if isinstance(leaf, Placeholder)]
    if sorted(places) != list(range(len(tensors))) or not isinstance(values[0], tuple):
        raise ValueError("its example has other tensors than places for them")
    args, kwargs = pytree.tree_map(lambda leaf: tensors[leaf.number] if isinstance(leaf, Placeholder) else leaf, values)
    # Zeros may be what a network cannot compute with, or what it never sees.
    return noise_like(Call(args, kwargs)).units[0][1]
