"""nnet3 descriptors: how a node's input is glued together from other nodes' outputs at other times.

Source: ``src/nnet3/nnet-descriptor.h``. All ten kinds: Append, Sum, Failover, IfDefined, Offset, Switch, Scale, Const,
Round and ReplaceIndex.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kaldi_quant.kaldi.text import to_integer, to_real

_TOKEN = re.compile(r"\s*([(),]|[^\s(),]+)", re.ASCII)
_LONGEST = 100_000
_DEEPEST = 100

#: Dimensions beyond this are taken for corruption: some are only stated, so that no data in the file bounds them.
LARGEST_DIM = 200_000


def _print(value: float) -> str:
    """A constant as C++ streams print it where nothing else is said: with six digits."""
    return f"{value:g}"


@dataclass(frozen=True)
class Descriptor:
    """The base of all kinds. ``sources`` are the descriptors below; ``children`` in Kaldi's own printing order."""

    def sources(self) -> tuple[Descriptor, ...]:
        """The descriptors that this one is made of."""
        return ()

    def leaves(self) -> Iterator[NodeName]:
        """Every mention of a node, from left to right."""
        for source in self.sources():
            yield from source.leaves()

    def dim(self, node_dim: Callable[[str], int]) -> int:
        """The dimension of what the descriptor yields; ``node_dim`` tells each node's.

        Raises:
            ValueError: parts that should agree do not.
        """
        dims = {source.dim(node_dim) for source in self.sources()}
        if len(dims) != 1:
            raise ValueError(f"{self} adds parts of different dimensions {sorted(dims)}")
        return dims.pop()

    def modulus(self) -> int:
        """The number of frames by which input and output can be shifted together without a change of the values."""
        return math.lcm(*(source.modulus() for source in self.sources()))


@dataclass(frozen=True)
class NodeName(Descriptor):
    """The output of a node at the time that is asked for."""

    node: str

    def leaves(self) -> Iterator[NodeName]:
        yield self

    def dim(self, node_dim: Callable[[str], int]) -> int:
        return node_dim(self.node)

    def modulus(self) -> int:
        return 1

    def __str__(self) -> str:
        return self.node


@dataclass(frozen=True)
class Const(Descriptor):
    """A constant vector: ``value`` in each of ``size`` columns."""

    value: float
    size: int

    def dim(self, node_dim: Callable[[str], int]) -> int:
        return self.size

    def modulus(self) -> int:
        return 1

    def __str__(self) -> str:
        return f"Const({_print(self.value)}, {self.size})"


@dataclass(frozen=True)
class _Many(Descriptor):
    parts: tuple[Descriptor, ...]

    def sources(self) -> tuple[Descriptor, ...]:
        return self.parts

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.parts))})"


class Append(_Many):
    """The parts side by side."""

    def dim(self, node_dim: Callable[[str], int]) -> int:
        return sum(part.dim(node_dim) for part in self.parts)


class Sum(_Many):
    """The sum of the parts."""


class Failover(_Many):
    """The first part where it is computable, else the second."""


class Switch(_Many):
    """The part number t modulo the number of parts."""

    def modulus(self) -> int:
        return math.lcm(len(self.parts), super().modulus())


@dataclass(frozen=True)
class _One(Descriptor):
    source: Descriptor

    def sources(self) -> tuple[Descriptor, ...]:
        return (self.source,)


class IfDefined(_One):
    """The source where it is computable, else zero."""

    def __str__(self) -> str:
        return f"IfDefined({self.source})"


@dataclass(frozen=True)
class Offset(_One):
    """The source at time t + ``t`` (and x + ``x``)."""

    t: int
    x: int = 0

    def __str__(self) -> str:
        return f"Offset({self.source}, {self.t}{f', {self.x}' if self.x else ''})"


@dataclass(frozen=True)
class Round(_One):
    """The source at the largest multiple of ``t_modulus`` that is not after t."""

    t_modulus: int

    def modulus(self) -> int:
        return self.t_modulus

    def __str__(self) -> str:
        return f"Round({self.source}, {self.t_modulus})"


@dataclass(frozen=True)
class ReplaceIndex(_One):
    """The source with its index ``variable`` ("t" or "x") set to ``value``."""

    variable: str
    value: int

    def __str__(self) -> str:
        return f"ReplaceIndex({self.source}, {self.variable}, {self.value})"


@dataclass(frozen=True)
class Scale(_One):
    """The source times ``scale``."""

    scale: float

    def __str__(self) -> str:
        return f"Scale({_print(self.scale)}, {self.source})"


class _Parser:
    """Recursive descent over the tokens of one descriptor."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"a descriptor of {len(text)} characters is not plausible")
        self.text = text
        self.tokens = _TOKEN.findall(text)
        self.next = 0

    def take(self, expected: str | None = None) -> str:
        found = self.tokens[self.next] if self.next < len(self.tokens) else "its end"
        if self.next >= len(self.tokens) or (expected is not None and found != expected):
            wanted = expected or "more"
            raise ValueError(f"the descriptor {self.text[:80]!r} needs {wanted} where it has {found[:40]!r}")
        self.next += 1
        return found

    def integer(self) -> int:
        word = self.take()
        try:
            return to_integer(word)
        except ValueError:
            raise ValueError(f"the descriptor {self.text[:80]!r} needs an integer where it has {word[:40]!r}") from None

    def real(self) -> float:
        word = self.take()
        try:
            return to_real(word)
        except ValueError:
            raise ValueError(f"the descriptor {self.text[:80]!r} needs a number where it has {word[:40]!r}") from None

    def more(self) -> bool:
        return self.next < len(self.tokens) and self.tokens[self.next] == ","

    def parse(self, depth: int = 0) -> Descriptor:
        if depth > _DEEPEST:
            raise ValueError(f"a descriptor is nested more than {_DEEPEST} deep")
        word = self.take()
        if not (self.next < len(self.tokens) and self.tokens[self.next] == "("):
            if word in "(),":
                raise ValueError(f"the descriptor {self.text[:80]!r} needs a node's name where it has {word!r}")
            return NodeName(word)
        self.take("(")
        descriptor = self._inside(word, depth + 1)
        self.take(")")
        return descriptor

    def _inside(self, kind: str, depth: int) -> Descriptor:
        if kind not in _KINDS:
            raise ValueError(f"{kind[:40]!r} is not one of Kaldi's descriptors")
        if kind in _MANY:
            parts = [self.parse(depth)]
            while self.more():
                self.take(",")
                parts.append(self.parse(depth))
            if kind == "Failover" and len(parts) != 2:
                raise ValueError(f"the descriptor {self.text[:80]!r} gives Failover {len(parts)} parts instead of 2")
            return _MANY[kind](tuple(parts))
        if kind in ("Scale", "Const"):
            value = self.real()
            self.take(",")
            if kind == "Scale":
                return Scale(self.parse(depth), value)
            return Const(value, self._positive("a dimension", LARGEST_DIM))
        source = self.parse(depth)
        if kind == "IfDefined":
            return IfDefined(source)
        self.take(",")
        if kind == "Offset":
            t = self.integer()
            if not self.more():
                return Offset(source, t)
            self.take(",")
            return Offset(source, t, self.integer())
        if kind == "Round":
            return Round(source, self._positive("a time modulus"))
        variable = self.take()
        if variable not in ("t", "x"):
            raise ValueError(f"ReplaceIndex replaces t or x, not {variable[:40]!r}")
        self.take(",")
        return ReplaceIndex(source, variable, self.integer())

    def _positive(self, what: str, largest: int = 2**31 - 1) -> int:
        value = self.integer()
        if not 0 < value <= largest:
            raise ValueError(f"the descriptor {self.text[:80]!r} has {value} as {what}")
        return value


_MANY: dict[str, type[_Many]] = {"Append": Append, "Sum": Sum, "Failover": Failover, "Switch": Switch}
_KINDS = {*_MANY, "Scale", "Const", "IfDefined", "Offset", "Round", "ReplaceIndex"}


def with_sources(descriptor: Descriptor, sources: Sequence[Descriptor]) -> Descriptor:
    """The descriptor with other descriptors below it, as many as it has."""
    if isinstance(descriptor, _Many):
        return replace(descriptor, parts=tuple(sources))
    return replace(descriptor, source=sources[0]) if isinstance(descriptor, _One) else descriptor


def substitute(descriptor: Descriptor, instead: Mapping[str, str]) -> Descriptor:
    """The descriptor with other nodes named in the place of those that ``instead`` holds."""
    if isinstance(descriptor, NodeName):
        return NodeName(instead.get(descriptor.node, descriptor.node))
    return with_sources(descriptor, [substitute(below, instead) for below in descriptor.sources()])


def as_printed(descriptor: Descriptor) -> Descriptor:
    """The descriptor with no more digits in its constants than its text has: what the text is parsed to."""
    if isinstance(descriptor, Const):
        descriptor = replace(descriptor, value=float(_print(descriptor.value)))
    if isinstance(descriptor, Scale):
        descriptor = replace(descriptor, scale=float(_print(descriptor.scale)))
    return with_sources(descriptor, [as_printed(below) for below in descriptor.sources()])


def parse_descriptor(text: str) -> Descriptor:
    """Parses a descriptor such as ``Append(Offset(input, -1), input, ReplaceIndex(ivector, t, 0))``.

    Raises:
        ValueError: one sentence that says what is wrong with the text.
    """
    parser = _Parser(text)
    descriptor = parser.parse()
    if parser.next != len(parser.tokens):
        raise ValueError(f"the descriptor {text[:80]!r} goes on after its end with {parser.tokens[parser.next][:40]!r}")
    return descriptor
