"""What a network ends with by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from kaldi_quant.errors import UsageError

Activation = Literal["sigmoid", "tanh"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of masks.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _ACTIVATIONS:
        raise UsageError(f"mask_activation {name!r} is not one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]
