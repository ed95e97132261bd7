"""An operator of an ONNX graph that is being read, and the registry of those that are understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import fx, nn

from kaldi_quant.errors import FormatError
from kaldi_quant.registry import Registry
from kaldi_quant.torchnn.onnx_import.values import Filled, Number, Value, is_constant, is_sizes

if TYPE_CHECKING:
    import onnx

    from kaldi_quant.torchnn.onnx_import.building import Building

#: What a handler gives: the first output, or all in their order.
Result = Value | tuple[Value | None, ...]
Handler = Callable[["Operator"], Result]

#: What makes torch's computation of an operator, by the operator's name in ONNX.
OPERATORS: Registry[Handler] = Registry("ONNX operator")


def adds(*names: str) -> Callable[[Handler], Handler]:
    """A decorator: the function is for operators of these names."""

    def decorator(handler: Handler) -> Handler:
        for name in names:
            OPERATORS.add(name)(handler)
        return handler

    return decorator


class Operator:
    """A node of the graph, and what it reads.

    Args:
        node: the node.
        building: the network in the making.
    """

    def __init__(self, node: onnx.NodeProto, building: Building) -> None:
        from onnx.helper import get_attribute_value

        self.node, self.building = node, building
        self.attributes = {each.name: get_attribute_value(each) for each in node.attribute}
        self._asked: set[str] = set()

    @property
    def kind(self) -> str:
        """Its name in ONNX."""
        return self.node.op_type

    @property
    def opset(self) -> int:
        """The operator set that its meaning is of."""
        return self.building.opset

    def refuse(self, problem: str) -> NoReturn:
        """Refuses the file.

        Raises:
            FormatError: in any case.
        """
        name = self.node.name or (self.node.output[0] if self.node.output else "")
        raise FormatError(self.building.path, None, f"the operator {self.kind} (node {name!r}) {problem}")

    # Attributes and inputs.

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute; text as str, several numbers as a list."""
        self._asked.add(name)
        found = self.attributes.get(name, default)
        if isinstance(found, bytes):
            return found.decode("utf-8", "replace")
        return list(found) if isinstance(found, Sequence) and not isinstance(found, str) else found

    def expect(self, name: str, default: Any) -> None:
        """Refuses any other value of an attribute than the usual one."""
        found = self.attribute(name, default)
        if found != default:
            self.refuse(f"has {name} = {found!r}, which is not understood: expected {default!r}")

    def check_all_asked(self) -> None:
        """Refuses attributes that nothing has asked for."""
        left = sorted(set(self.attributes) - self._asked)
        if left:
            self.refuse(f"has the attribute {left[0]}, which is not understood")

    def has(self, place: int) -> bool:
        """Whether it has an input there."""
        return len(self.node.input) > place and bool(self.node.input[place])

    def uses(self, place: int) -> bool:
        """Whether something reads an output."""
        return len(self.node.output) > place and self.building.is_read(self.node.output[place])

    def value(self, place: int) -> Value:
        """What an input stands for."""
        if not self.has(place):
            self.refuse(f"lacks its input {place}")
        return self.building.values[self.node.input[place]]

    def is_constant(self, place: int) -> bool:
        """Whether an input is there, and a constant."""
        return self.has(place) and is_constant(self.value(place))

    def constant(self, place: int, what: str) -> np.ndarray:
        """An input that has to be a constant; what: it is, for messages."""
        found = self.value(place)
        if not isinstance(found, np.ndarray) or not is_constant(found):
            self.refuse(f"has {what} that the network computes: expected a constant of the file")
        return found

    def number(self, place: int, what: str) -> float | int | bool:
        """An input that has to be one constant number."""
        found = self.constant(place, what)
        if found.size != 1:
            self.refuse(f"has {what} of shape {found.shape}: expected one number")
        return found.reshape(-1)[0].item()

    def integers(self, place: int, name: str, since: int = 0) -> list[int] | None:
        """Whole numbers that are an attribute before an operator set, and an input from it on; None without."""
        if self.opset < since:
            found = self.attribute(name)
            return None if found is None else [found] if isinstance(found, int) else found
        return [int(one) for one in self.constant(place, name).reshape(-1)] if self.has(place) else None

    def sizes(self, place: int, what: str) -> list[Number]:
        """An input of whole numbers, each known or computed from sizes."""
        found = self.value(place)
        if isinstance(found, np.ndarray) and is_sizes(found):
            return list(found.reshape(-1))
        return [int(one) for one in self.constant(place, what).reshape(-1)]

    def rank(self, place: int = 0) -> int:
        """How many axes an input has."""
        found = self.value(place)
        if isinstance(found, np.ndarray):
            return found.ndim
        if isinstance(found, Filled):
            return len(found.sizes)
        shape = self.building.shapes.get(self.node.input[place])
        if shape is None:
            self.refuse(f"reads {self.node.input[place]!r}, and the file does not tell how many axes that has")
        return len(shape)

    def axis(self, axis: int, rank: int | None = None) -> int:
        """An axis counted from the front; rank: by default that of the first input."""
        rank = self.rank() if rank is None and axis < 0 else rank
        found = axis if axis >= 0 else axis + (rank or 0)
        if found < 0 or (rank is not None and found >= rank):
            self.refuse(f"names the axis {axis} of {rank}")
        return found

    def is_float(self, place: int) -> bool:
        """Whether an input is known to hold floats of 32 bits."""
        from onnx import TensorProto

        return self.building.types.get(self.node.input[place]) == TensorProto.FLOAT

    def is_whole(self, place: int) -> bool:
        """Whether an input is known to hold whole numbers."""
        from onnx import TensorProto

        floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
        kind = self.building.types.get(self.node.input[place], TensorProto.UNDEFINED)
        return kind not in (TensorProto.UNDEFINED, *floats)

    def known_size(self, place: int, axis: int) -> int | None:
        """How long an axis of an input is, where the file tells."""
        shape = self.building.shapes.get(self.node.input[place])
        return shape[axis] if shape is not None else None

    # What the network computes.

    @property
    def x(self) -> fx.Node:
        """The first input."""
        return self.tensor(0)

    def tensor(self, place: int) -> fx.Node:
        """An input as a tensor of the network."""
        found = self.value(place)
        if isinstance(found, fx.Node):
            return found
        if isinstance(found, Filled):
            return self.building.filled(found)
        if is_sizes(found):
            self.refuse("computes with sizes of tensors in a way that is not understood")
        return self.building.stored(self.node, self.node.input[place], found)

    def operand(self, place: int) -> fx.Node | float | int:
        """An input as a tensor, or as a number where that computes the same."""
        found = self.value(place)
        if isinstance(found, np.ndarray) and found.size == 1 and found.ndim <= 1:
            return found.reshape(-1)[0] if is_sizes(found) else found.reshape(-1)[0].item()
        return self.tensor(place)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """A function of torch on tensors of the network."""
        return self.building.graph.call_function(function, args, kwargs)

    def method(self, name: str, x: fx.Node, *args: Any, **kwargs: Any) -> fx.Node:
        """A method of a tensor of the network."""
        return self.building.graph.call_method(name, (x, *args), kwargs)

    def module(
        self, make: Callable[[], nn.Module], constants: Sequence[int | str], *args: Any, also: Any = ()
    ) -> fx.Node:
        """A module on tensors of the network; nodes of the same constants and attributes share one.

        Args:
            make: makes it.
            constants: the inputs that its parameters are from, the weight first; or names of other constants.
            args: of its call.
            also: what else tells it from others.
        """
        inputs = [*self.node.input, *[""] * len(constants)]
        names = [place if isinstance(place, str) else inputs[place] for place in constants]
        return self.building.call_module(self.node, [name for name in names if name], make, args, also)


def parameter(array: np.ndarray, like: torch.dtype | None = None) -> nn.Parameter:
    """A constant of the file as a parameter of a module; like: of another type."""
    found = torch.from_numpy(np.array(array, copy=True))
    return nn.Parameter(found if like is None else found.to(like))
