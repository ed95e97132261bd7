"""nnet3 components as they stand in a file.

Source: ``Component::ReadNew`` and the classes' ``Read`` and ``Write`` in ``src/nnet3``. A component keeps its fields
just as they were read, old and new ones, so that it is written back byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kaldi_quant.kaldi.component_fields import COMPONENT_FIELDS, CONVOLUTION_MODEL, Field
from kaldi_quant.kaldi.reader import BinaryReader, Reader
from kaldi_quant.kaldi.writer import Writer

# Components nest only in CompositeComponent; Kaldi itself never nests composites.
_DEEPEST_NESTING = 10


class Component:
    """One component: its type and its fields in file order.

    Args:
        type: Kaldi's class name, such as ``NaturalGradientAffineComponent``.
        fields: (name, value) pairs. A value is a Python bool or int, a numpy scalar (its dtype is the width in the
            file), an array, a tuple of two numbers, a list of Components, or a dict (ConvolutionModel).
        closing: the closing token; early files close some types with the opening one.
    """

    def __init__(self, type: str, fields: list[tuple[str, Any]], closing: str | None = None) -> None:
        self.type = type
        self.fields = fields
        self.closing = closing or f"</{type}>"

    def __contains__(self, name: str) -> bool:
        return any(field == name for field, _ in self.fields)

    def __getitem__(self, name: str) -> Any:
        """The value of a field; where early files repeat one, the last, as in Kaldi."""
        if name not in self:
            raise KeyError(f"{self.type} has no <{name}>")
        return self.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, or ``default`` where the file does not have it."""
        found = [value for field, value in self.fields if field == name]
        return found[-1] if found else default

    def replace(self, name: str, value: Any) -> None:
        """Replaces the value of a field that the component has."""
        for index in range(len(self.fields) - 1, -1, -1):
            if self.fields[index][0] == name:
                self.fields[index] = (name, value)
                return
        raise KeyError(f"{self.type} has no <{name}>")

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """The fields that are vectors or matrices of floats, those of nested components included."""
        for name, value in self.fields:
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                yield name, value
            elif name == "NumComponents":
                for component in value:
                    yield from component.arrays()

    @classmethod
    def read(cls, reader: Reader, depth: int = 0) -> Component:
        """Reads ``<Type> … </Type>``.

        Raises:
            FormatError: an unknown type, or a field that is missing, unknown or malformed.
        """
        position = reader.position
        opening = reader.token()
        type_name = opening[1:-1]
        if opening != f"<{type_name}>" or type_name not in COMPONENT_FIELDS:
            reader.fail(f"expected a component of a type that Kaldi has, found {opening[:80]!r}", position)
        if depth > _DEEPEST_NESTING:
            reader.fail(f"components are nested more than {_DEEPEST_NESTING} deep", position)
        fields = _read_fields(reader, COMPONENT_FIELDS[type_name], type_name, depth)
        closing = reader.expect(f"</{type_name}>", f"<{type_name}>")
        return cls(type_name, fields, closing)

    def write(self, writer: Writer) -> None:
        """Writes ``<Type> … </Type>``."""
        writer.token(f"<{self.type}>")
        _write_fields(writer, self.fields, COMPONENT_FIELDS[self.type])
        writer.token(self.closing)


def _read_fields(reader: Reader, expected: tuple[Field, ...], type_name: str, depth: int) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    for field in expected:
        if reader.peek_token() != f"<{field.name}>":
            if not field.optional:
                reader.fail(f"expected <{field.name}> of {type_name}, found {reader.peek_token()[:80]!r}")
            continue
        reader.token()
        fields.append((field.name, _read_value(reader, field.kind, depth)))
    return fields


def _read_value(reader: Reader, kind: str, depth: int) -> Any:
    match kind:
        case "int":
            return reader.int32()
        case "float":
            return reader.float32()
        case "double":
            return reader.float64()
        case "bool":
            return reader.bool()
        case "vector":
            return reader.vector()
        case "matrix":
            return reader.matrix()
        case "double_vector":
            return reader.vector(np.float64)
        case "double_matrix":
            return reader.matrix(np.float64)
        case "ints":
            return reader.int_vector()
        case "pairs":
            return reader.int_pairs()
        case "flag":
            return True
        case "int2":
            return reader.int32(), reader.int32()
        case "float2":
            return reader.float32(), reader.float32()
        case "convolution":
            reader.expect("<ConvolutionModel>")
            model = _read_fields(reader, CONVOLUTION_MODEL, "ConvolutionModel", depth)
            reader.expect("</ConvolutionModel>")
            return dict(model)
        case "components":
            return [Component.read(reader, depth + 1) for _ in range(reader.count("components"))]
        case "column_map":
            floats = isinstance(reader, BinaryReader) and reader.peek_token() == "FV"
            return reader.vector() if floats else reader.int_vector()
    raise AssertionError(kind)


def _write_fields(writer: Writer, fields: list[tuple[str, Any]], described: tuple[Field, ...]) -> None:
    kinds = {field.name: field.kind for field in described}
    for name, value in fields:
        writer.token(f"<{name}>")
        _write_value(writer, kinds[name], value)


def _write_value(writer: Writer, kind: str, value: Any) -> None:
    match kind:
        case "int":
            writer.int32(value)
        case "float" | "double":
            writer.float(value)
        case "bool":
            writer.bool(value)
        case "vector" | "double_vector":
            writer.vector(value)
        case "matrix" | "double_matrix":
            writer.matrix(value)
        case "ints":
            writer.int_vector(value)
        case "pairs":
            writer.int_pairs(value)
        case "flag":
            pass
        case "int2":
            for number in value:
                writer.int32(number)
        case "float2":
            for number in value:
                writer.float(number)
        case "convolution":
            writer.token("<ConvolutionModel>")
            _write_fields(writer, list(value.items()), CONVOLUTION_MODEL)
            writer.token("</ConvolutionModel>")
        case "components":
            writer.int32(len(value))
            for component in value:
                component.write(writer)
        case "column_map":
            (writer.vector if value.dtype.kind == "f" else writer.int_vector)(value)
