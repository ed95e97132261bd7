"""Plain Python values as JSON and back: the arguments of a graph's functions, and the attributes of modules.

JSON's own values stand for themselves, lists for lists. Everything else is an object with one key that says what it
is: ``{"tuple": [1, 2]}``, ``{"node": "conv1d"}``, ``{"dtype": "float32"}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from kaldi_quant.errors import ModelError
from kaldi_quant.formats.torch_graph.functions import functions, name_of_function

# Where a nested value ends.
_DEEPEST = 30
_DTYPES = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_MEMORY_FORMATS = {
    str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.memory_format)
}


class Placeholder:
    """Stands for a tensor of an example, by its number."""

    def __init__(self, number: int) -> None:
        self.number = number


def encoded(value: Any, depth: int = 0) -> Any:
    """A value as JSON.

    Raises:
        ModelError: it is none that a file can hold.
    """
    if depth > _DEEPEST:
        raise ModelError("it is nested too deep")

    def inner(values: Any) -> list[Any]:
        return [encoded(one, depth + 1) for one in values]

    match value:
        case None | bool() | str():
            return value
        case int() if type(value) is int:
            return value
        case float() if type(value) is float:
            return value if math.isfinite(value) else {"float": str(value)}
        case fx.Node():
            return {"node": value.name}
        case Placeholder():
            return {"tensor": value.number}
        case torch.Size():
            return {"size": inner(value)}
        case torch.dtype():
            return {"dtype": str(value).removeprefix("torch.")}
        case torch.memory_format():
            return {"memory_format": str(value).removeprefix("torch.")}
        case torch.device():
            return {"device": value.type}
        case slice():
            return {"slice": inner((value.start, value.stop, value.step))}
        case _ if value is ...:
            return {"ellipsis": True}
        case list() if isinstance(value, fx.immutable_collections.immutable_list) or type(value) is list:
            return inner(value)
        case tuple() if type(value) is tuple:
            return {"tuple": inner(value)}
        case dict() if isinstance(value, fx.immutable_collections.immutable_dict) or type(value) is dict:
            return {"dict": [inner(pair) for pair in value.items()]}
    name = name_of_function(value) if callable(value) else None
    if name is None:
        raise ModelError(f"a {type(value).__name__} is nothing that a file can hold")
    return {"function": name}


def decoded(value: Any, nodes: Mapping[str, fx.Node] | None = None, depth: int = 0) -> Any:
    """The value that JSON stands for.

    Args:
        value: from ``encoded``.
        nodes: of a graph, by name.
        depth: how deep it is nested already.

    Raises:
        ValueError: it stands for nothing.
    """
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")

    def inner(values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise ValueError(f"{str(values)[:60]!r} should be a list")
        return [decoded(one, nodes, depth + 1) for one in values]

    if isinstance(value, list):
        return inner(value)
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an object with one key stands for a value, not {str(value)[:60]!r}")
    [(kind, content)] = value.items()
    simple: dict[str, Mapping[str, Any]] = {
        "node": nodes or {},
        "dtype": _DTYPES,
        "memory_format": _MEMORY_FORMATS,
        "device": {name: torch.device(name) for name in ("cpu", "cuda")},
        "float": {name: float(name) for name in ("inf", "-inf", "nan")},
        "function": functions() if kind == "function" else {},
    }
    if kind in simple:
        if not isinstance(content, str) or content not in simple[kind]:
            raise ValueError(f"there is no {kind} {str(content)[:60]!r}")
        return simple[kind][content]
    several: dict[str, Callable[[list[Any]], Any]] = {
        "tuple": tuple,
        "size": torch.Size,
        "slice": lambda parts: slice(*parts),
        "dict": dict,
    }
    if kind in several:
        try:
            return several[kind](inner(content))
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"{str(content)[:60]!r} is no {kind}") from error
    if kind == "ellipsis":
        return ...
    if kind == "tensor" and type(content) is int:
        return Placeholder(content)
    raise ValueError(f"{kind[:60]!r} is no kind of value")
