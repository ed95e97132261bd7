"""Torch's optimizers without its compiler."""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

_Kind = TypeVar("_Kind", bound=Optimizer)

# What torch wraps so that its compiler leaves it alone. The wrappers import the compiler: more than a second.
_WRAPPED = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")


def plain(kind: type[_Kind]) -> type[_Kind]:
    """An optimizer that computes what torch's does, for where nothing is compiled.

    Args:
        kind: such as ``torch.optim.AdamW``.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _WRAPPED}
    # One of the wrappers does this, too.
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)
