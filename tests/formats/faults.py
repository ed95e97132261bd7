"""Seeded faults in the description and the tensors of an integer model's file."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from kaldi_quant.formats.network_without_weights import compressed, decompressed
from tests.fuzzing import corrupt

_VALUES = [0, 1, -1, 2, 3, 8, 16, 17, 2**31, -(2**31), 2**63, 10**30, 0.5, float("nan"), True, False, None]
_VALUES += ["", "x", "\ud800", "tdnn1.affine", [], [1], [-1, 5], [2**31, 2**31], {}, {"bits": 3}, [[[]]]]
_FLOATS = [0.0, -0.0, -1.0, 1e-45, 1e-38, 1e38, 3.4e38, np.inf, -np.inf, np.nan, 1.0]
_INTEGERS = [0, 1, -1, 255, 256, 2**31 - 1, -(2**31)]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from places(value[key])


def fault_in_description(content: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    content = copy.deepcopy(content)
    found = list(places(content))
    holder, key = found[int(rng.integers(len(found)))]
    other_holder, other_key = found[int(rng.integers(len(found)))]
    way = int(rng.integers(4))
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[str(other_key)] = holder.pop(key)
    elif way == 2:
        holder[key] = copy.deepcopy(other_holder[other_key])
    else:
        holder[key] = _VALUES[int(rng.integers(len(_VALUES)))]
    return content


def fault_in_tensors(tensors: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    tensors = dict(tensors)
    names = sorted(tensors)
    name, other = (names[int(rng.integers(len(names)))] for _ in range(2))
    array = tensors[name].copy()
    way = int(rng.integers(6))
    if name in ("network", "transition_model") and way:
        data = decompressed(array, "")
        tensors[name] = compressed(corrupt(data, int(rng.integers(1 << 30))))
    elif way == 0:
        del tensors[name]
    elif way == 1:
        tensors[name] = tensors[other]
    elif way == 2:
        tensors[name] = array[: int(rng.integers(array.size + 1))]
    elif way == 3:
        tensors[name] = array.reshape(-1, 1) if rng.random() < 0.5 else array.astype(np.float32)
    elif array.size:
        values = _FLOATS if array.dtype == np.float32 else _INTEGERS
        value = np.array(values[int(rng.integers(len(values)))])
        with np.errstate(over="ignore"):
            array[int(rng.integers(array.size))] = value.astype(array.dtype)
        tensors[name] = array
    return tensors
