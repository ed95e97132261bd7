"""Names for the parts of a network that is read from an ONNX file: paths as ``torch.nn`` has them."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import fx, nn

if TYPE_CHECKING:
    import onnx

# The names that torch gives to what has none.
_NUMBERED = re.compile(r"onnx::|\d+$|_v_\d+$|val_\d+$")
# What the code of a traced graph calls by name.
_OF_CODE = ("self", "torch", "getattr", "slice", "operator", "math", "inf", "nan", "device", "pytree", "fx_pytree")


def identifier(name: str, others: Collection[str] = ()) -> str:
    """A name of the file as that of an argument in Python, unlike others."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not found.isidentifier() or keyword.iskeyword(found) or found in _OF_CODE:
        found = f"_{found}"
    while found in others:
        found = f"{found}_"
    return found


def path_of_node(node: onnx.NodeProto, constants: Sequence[str]) -> str:
    """The path of a module: that of its weight in the file, if it tells one; else what the node is called.

    PyTorch calls nodes ``/encoder/encoder.0/conv/Conv``.
    """
    for name in constants:
        owner, _, last = name.rpartition(".")
        if owner and last in ("weight", "bias"):
            return cleaned(owner)
    parts: list[str] = []
    for part in node.name.split("/"):
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    if re.fullmatch(rf"{re.escape(node.op_type)}(_\d+)?", parts[-1]) and any(parts[:-1]):
        parts.pop()
    return cleaned(".".join(parts)) or node.op_type.lower()


def path_of_constant(node: onnx.NodeProto, name: str) -> str:
    """The path of a tensor that a node reads: its own in the file, if that tells something."""
    own = "" if _NUMBERED.match(name) else cleaned(name.strip("/").replace("/", "."))
    return own or f"{path_of_node(node, ())}.constant"


def cleaned(path: str) -> str:
    """A path of parts that modules may have."""
    parts = (re.sub(r"\W", "_", part, flags=re.ASCII) for part in path.split("."))
    return ".".join(f"{part}_" if part in _of_modules() else part for part in parts if part)


@cache
def _of_modules() -> frozenset[str]:
    """What modules have already."""
    return frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))


class Tree:
    """Modules within modules, by path.

    Args:
        root: the outermost.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self._leaves: set[str] = set()

    def add(self, path: str, value: nn.Module | nn.Parameter | torch.Tensor) -> str:
        """Adds a module or a tensor, and returns its path, which is another one if that is taken."""
        found, number = path, 1
        while not self._is_free(found):
            number += 1
            found = f"{path.replace('.', '_')}_{number}"
        self._leaves.add(found)
        *outer, last = found.split(".")
        module = self.root
        for part in outer:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        if isinstance(value, nn.Module):
            module.add_module(last, value)
        elif isinstance(value, nn.Parameter):
            module.register_parameter(last, value)
        else:
            module.register_buffer(last, value)
        return found

    def _is_free(self, path: str) -> bool:
        """Whether nothing is there, or within it, or around it."""
        parts = path.split(".")
        around = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
        return not around & self._leaves and not any(leaf.startswith(f"{path}.") for leaf in self._leaves)
