"""LSTM, GRU and plain recurrent layers, of one direction or two."""

from __future__ import annotations

import operator as python
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from kaldi_quant.torchnn.onnx_import.operator import Operator, Result, adds, parameter
from kaldi_quant.torchnn.onnx_import.reset_first import ResetFirstGRU
from kaldi_quant.torchnn.onnx_import.values import is_zero


@dataclass(frozen=True)
class _Kind:
    """An operator.

    Args:
        module: of torch.
        gates: the places in ONNX of torch's gates, in torch's order.
        activations: the usual ones.
    """

    module: type[nn.RNNBase]
    gates: tuple[int, ...]
    activations: tuple[str, ...]


_KINDS = {
    "LSTM": _Kind(nn.LSTM, (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh")),
    "GRU": _Kind(nn.GRU, (1, 0, 2), ("Sigmoid", "Tanh")),
    "RNN": _Kind(nn.RNN, (0,), ("Tanh",)),
}


@adds(*_KINDS)
def recurrent(operator: Operator) -> Result:
    """The states of all times, (T, directions, N, size), and the last ones, (directions, N, size)."""
    kind, weights = _KINDS[operator.kind], [operator.constant(place, "a weight") for place in (1, 2)]
    direction = operator.attribute("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    size = operator.attribute("hidden_size", weights[1].shape[-1])
    rows = len(kind.gates) * size
    expected = [(directions, rows, weights[0].shape[-1]), (directions, rows, size)]
    if [weight.shape for weight in weights] != expected:
        operator.refuse(f"has weights of shapes {[weight.shape for weight in weights]}: expected {expected}")
    bias = operator.constant(3, "a bias") if operator.has(3) else None
    if bias is not None and bias.shape != (directions, 2 * rows):
        operator.refuse(f"has a bias of shape {bias.shape}: expected {(directions, 2 * rows)}")
    _check_options(operator, directions)
    activation = _activation(operator, kind, directions)
    parts = [*weights, *([] if bias is None else np.split(bias, 2, 1))]
    resets_first = operator.kind == "GRU" and not operator.attribute("linear_before_reset", 0)

    def make() -> nn.Module:
        more: dict[str, Any] = {"nonlinearity": activation.lower()} if operator.kind == "RNN" else {}
        # torch has a layer of one direction and turns it round itself only beside the other.
        found = kind.module(weights[0].shape[-1], size, bias=bias is not None, bidirectional=directions == 2, **more)
        for suffix, place in (("", 0), ("_reverse", 1))[:directions]:
            for name, part in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), parts, strict=False):
                setattr(found, f"{name}_l0{suffix}", parameter(_in_order(part[place], kind.gates)))
        return ResetFirstGRU(found) if resets_first else found

    states = [None if not operator.has(place) or is_zero(operator.value(place)) else place for place in (5, 6)]
    x = operator.call(torch.flip, operator.x, (0,)) if direction == "reverse" else operator.x
    found = operator.module(make, [1, 2, 3], x, *_initial(operator, states))
    return _results(operator, found, direction, directions, size)


def _initial(operator: Operator, states: list[int | None]) -> list[fx.Node | tuple[fx.Node, fx.Node]]:
    given = [operator.tensor(place) for place in states if place is not None]
    if not given:
        return []
    if operator.kind != "LSTM":
        return [given[0]]
    # The one that is not given is zeros.
    first = [operator.call(torch.zeros_like, given[0]) if place is None else operator.tensor(place) for place in states]
    return [(first[0], first[1])]


def _results(operator: Operator, found: fx.Node, direction: str, directions: int, size: int) -> Result:
    states, last = (operator.call(python.getitem, found, place) for place in (0, 1))
    results: list[fx.Node] = [states, last]
    if operator.kind == "LSTM":
        results[1:] = [operator.call(python.getitem, last, place) for place in (0, 1)]
    if direction == "reverse":
        results[0] = operator.call(torch.flip, states, (0,))
    if directions == 1:
        results[0] = operator.method("unsqueeze", results[0], 1)
    else:
        apart = operator.method("unflatten", results[0], -1, (directions, size))
        results[0] = operator.method("transpose", apart, 1, 2)
    return tuple(results)


def _check_options(operator: Operator, directions: int) -> None:
    if operator.attribute("direction", "forward") not in ("forward", "reverse", "bidirectional"):
        operator.refuse(f"has direction = {operator.attribute('direction')!r}, which is not understood")
    for name, usual in (("layout", 0), ("input_forget", 0), ("clip", None)):
        operator.expect(name, usual)
    for name in ("activation_alpha", "activation_beta"):
        operator.expect(name, None)
    if operator.has(4):
        operator.refuse("is told the lengths of sequences, which is not understood")
    if operator.has(7) and not is_zero(operator.value(7)):
        operator.refuse("has weights of cell states at its gates (peepholes), which torch does not have")


def _activation(operator: Operator, kind: _Kind, directions: int) -> str:
    """The activation of plain recurrent layers."""
    found = operator.attribute("activations")
    names = (
        list(kind.activations)
        if found is None
        else [each if isinstance(each, str) else each.decode() for each in found]
    )
    if found is None:
        names *= directions
    one = names[: len(kind.activations)]
    allowed = [["Tanh"], ["Relu"]] if operator.kind == "RNN" else [list(kind.activations)]
    if one not in allowed or names != one * directions:
        operator.refuse(f"has the activations {names}, which torch does not have")
    return one[0]


def _in_order(x: np.ndarray, gates: tuple[int, ...]) -> np.ndarray:
    """Rows of ONNX's gates in torch's order."""
    parts = np.split(x, len(gates))
    return np.concatenate([parts[place] for place in gates])
