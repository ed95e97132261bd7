"""Sizes that a graph computes while it runs, and what networks do with sizes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.torchnn.onnx.axes import Shape


@dataclass(frozen=True)
class Size:
    """A number that depends on the lengths of inputs.

    Args:
        name: of the value, (1,) int64.
        source: the value that it is a size of, if it is one.
        axis: which.
    """

    name: Name
    source: Name = ""
    axis: int = 0


#: A number that is known, or is computed.
Number = int | Size
#: Where a slice ends that keeps everything.
END = 2**62


@dataclass(frozen=True)
class Sizes:
    """Computes with sizes in a graph."""

    writer: GraphWriter

    def of(self, value: Name, shape: Shape) -> list[Number]:
        """The sizes of a value; shape: what is known of them."""
        return [self._of_axis(value, axis) if size is None else size for axis, size in enumerate(shape)]

    def _of_axis(self, value: Name, axis: int) -> Size:
        return Size(self.writer.op("Shape", [value], start=axis, end=axis + 1), value, axis)

    def one(self, number: Number) -> Name:
        """(1,) int64."""
        return number.name if isinstance(number, Size) else self.writer.integers(number)

    def vector(self, numbers: Sequence[Number]) -> Name:
        """(numbers,) int64."""
        if all(isinstance(number, int) for number in numbers):
            return self.writer.integers(*[int(number) for number in numbers])  # type: ignore[arg-type]
        names = [self.one(number) for number in numbers]
        return names[0] if len(names) == 1 else self.writer.op("Concat", names, axis=0)

    def add(self, one: Number, other: Number) -> Number:
        """one + other."""
        return self._by(operator.add, "Add", one, other)

    def subtract(self, one: Number, other: Number) -> Number:
        """one - other."""
        return self._by(operator.sub, "Sub", one, other)

    def multiply(self, one: Number, other: Number) -> Number:
        """one * other."""
        return self._by(operator.mul, "Mul", one, other)

    def modulo(self, one: Number, other: Number) -> Number:
        """one % other, of the sign of the other, as Python's and ONNX's are."""
        return self._by(operator.mod, "Mod", one, other)

    def divide(self, one: Number, other: Number) -> Number:
        """one // other; ONNX's own division would round towards zero."""
        if isinstance(one, int) and isinstance(other, int):
            return one // other
        whole = self.subtract(one, self.modulo(one, other))
        return self._by(operator.floordiv, "Div", whole, other)

    def maximum(self, one: Number, other: Number) -> Number:
        """The larger one."""
        return self._by(max, "Max", one, other)

    def minimum(self, one: Number, other: Number) -> Number:
        """The smaller one."""
        return self._by(min, "Min", one, other)

    def product(self, numbers: Sequence[Number]) -> Number:
        """Of all."""
        result: Number = 1
        for number in numbers:
            result = number if result == 1 else self.multiply(result, number)
        return result

    def _by(self, compute: Callable[[int, int], int], kind: str, one: Number, other: Number) -> Number:
        if isinstance(one, int) and isinstance(other, int):
            return compute(one, other)
        return Size(self.writer.op(kind, [self.one(one), self.one(other)]))

    def reshaped(self, value: Name, numbers: Sequence[Number]) -> Name:
        """A value with other axes; one number may be -1."""
        found: list[Number] = []
        for axis, number in enumerate(numbers):
            # ONNX's zero stands for the size that the axis has already.
            is_same = isinstance(number, Size) and (number.source, number.axis) == (value, axis)
            found.append(0 if is_same else number)
        open_places = [place for place, number in enumerate(found) if isinstance(number, Size)]
        if len(open_places) == 1 and -1 not in found:
            found[open_places[0]] = -1
        return self.writer.op("Reshape", [value, self.vector(found)])


#: Operations on sizes by the name of the function.
ARITHMETIC: dict[str, Callable[[Sizes, Number, Number], Number]] = {
    "add": Sizes.add,
    "sub": Sizes.subtract,
    "mul": Sizes.multiply,
    "floordiv": Sizes.divide,
    "mod": Sizes.modulo,
    "max": Sizes.maximum,
    "min": Sizes.minimum,
}
