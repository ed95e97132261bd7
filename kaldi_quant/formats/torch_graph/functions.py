"""The functions that a graph in a file may name: torch's own on tensors, Python's operators, and this project's own.

Which of torch's functions compute with tensors, and do nothing else, is what torch lists as functions that a class like
``Tensor`` can override; functions that read files, or set what others do, are not among them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import get_overridable_functions

from kaldi_quant.torchnn.masks import masked_softmax, without_later_keys
from kaldi_quant.torchnn.on_grid import on_grid
from kaldi_quant.torchnn.rounded_once import (
    celu,
    elu,
    gelu,
    glu,
    group_norm,
    instance_norm,
    layer_norm,
    mish,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from kaldi_quant.torchnn.simplify import added
from kaldi_quant.torchnn.tracing import same_way

# Where torch's functions are; the first name of a function is its name.
_MODULES: dict[str, Any] = {
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "torch.fft": torch.fft,
    "torch.linalg": torch.linalg,
    "torch.special": torch.special,
    "torch._C._nn": torch._C._nn,
}
# Functions that make tensors of sizes alone.
_MAKERS = frozenset(
    [
        "arange",
        "empty",
        "eye",
        "full",
        "hamming_window",
        "hann_window",
        "linspace",
        "ones",
        "tril_indices",
        "triu_indices",
        "zeros",
    ]
)
_OWN: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(added, same_way, masked_softmax, without_later_keys, on_grid),
        *(celu, elu, gelu, glu, mish, selu, sigmoid, silu, softmax, softplus, tanh),
        *(group_norm, instance_norm, layer_norm),
    )
}
_PYTHON: dict[str, Callable[..., Any]] = {
    "len": len,
    "int": int,
    "float": float,
    "bool": bool,
    "getattr": getattr,
    "max": max,
    "min": min,
}
# Of the operators these call what they are given.
_CALLERS = ("attrgetter", "call", "itemgetter", "methodcaller")
#: What a graph may ask a tensor for by ``getattr``.
ATTRIBUTES = frozenset(
    ("shape", "ndim", "dtype", "device", "layout", "T", "mT", "H", "mH", "real", "imag", "is_cuda", "requires_grad")
)
# Methods that compute with tensors, or ask for what they are, though classes like Tensor do not override them.
_MORE_METHODS = ("new_empty", "new_full", "new_ones", "new_zeros", "unflatten")
# Methods that call what they are given, or reach for what lies behind a tensor.
_NO_METHODS = frozenset(
    [
        "apply_",
        "backward",
        "const_data_ptr",
        "data_ptr",
        "map2_",
        "map_",
        "module_load",
        "numpy",
        "record_stream",
        "register_hook",
        "register_post_accumulate_grad_hook",
        "set_",
        "share_memory_",
        "storage",
        "storage_type",
        "untyped_storage",
    ]
)


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """All by name."""
    found = {f"operator.{name}": value for name, value in _public(operator) if name not in _CALLERS}
    overridable = {id(value) for values in get_overridable_functions().values() for value in values}
    for where, module in _MODULES.items():
        for name, value in _public(module):
            if id(value) in overridable or (module is torch and name in _MAKERS):
                found[f"{where}.{name}"] = value
    return {**found, **_PYTHON, **_OWN}


def _public(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in vars(module).items():
        if not name.startswith("_") and callable(value):
            yield name, value


@cache
def _names() -> dict[int, str]:
    found: dict[int, str] = {}
    for name, function in functions().items():
        found.setdefault(id(function), name)
    return found


def name_of_function(function: object) -> str | None:
    """The name of a function; None for those that no file may name."""
    return _names().get(id(function))


@cache
def methods() -> frozenset[str]:
    """The methods of tensors that a graph may call."""
    listed = {getattr(method, "__name__", "") for method in get_overridable_functions()[Tensor]}
    return frozenset({name for name in listed if not name.startswith("_")} | set(_MORE_METHODS)) - _NO_METHODS
