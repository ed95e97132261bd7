"""The nodes of a phonetic-context decision tree.

Trees are read, written and searched with explicit stacks: a deep one must not overflow Python's recursion.
Source: ``src/tree/event-map.{h,cc}`` of Kaldi.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from kaldi_quant.kaldi.reader import Reader
from kaldi_quant.kaldi.writer import Writer

PDF_CLASS = -1  # kPdfClass: the key under which an event holds its pdf-class; other keys are context positions

# Far above any tree; whoever allocates per pdf must not be led to gigabytes by a corrupt number.
_LARGEST_PDF = 1 << 24


class EventMap:
    """A node of the tree: maps an event, a dict from key to value, to a pdf."""

    def children(self) -> list[EventMap | None]:
        """The nodes below, in file order; None stands for ``NULL``."""
        return []

    def child(self, event: Mapping[int, int]) -> EventMap | None:
        """The node below that is asked next; None where the event leads nowhere."""
        raise TypeError(f"{type(self).__name__} has no nodes below it")

    def map(self, event: Mapping[int, int]) -> int | None:
        """The pdf of an event; None where the tree has no answer (Kaldi's Map returns false)."""
        node: EventMap | None = self
        while node is not None and not isinstance(node, ConstantEventMap):
            node = node.child(event)
        return None if node is None else node.answer

    def nodes(self) -> Iterator[EventMap]:
        """This node and all below it."""
        stack: list[EventMap | None] = [self]
        while stack:
            node = stack.pop()
            if node is not None:
                yield node
                stack.extend(node.children())

    @classmethod
    def read(cls, reader: Reader, context_width: int) -> EventMap | None:
        """Reads a node and all below it.

        Args:
            reader: stands before the node.
            context_width: a key must be PDF_CLASS or a position below this.

        Raises:
            FormatError: the tree is malformed.
        """
        # A stack entry: the node, the number of children that it expects, and the children read so far.
        stack: list[tuple[TableEventMap | SplitEventMap, int, list[EventMap | None]]] = []
        while True:
            node, expected = _read_head(reader, context_width)
            if isinstance(node, TableEventMap | SplitEventMap):
                stack.append((node, expected, []))
            elif not stack:
                return node
            else:
                stack[-1][2].append(node)
            while stack and len(stack[-1][2]) == stack[-1][1]:
                parent, _, children = stack.pop()
                parent.close(reader, children)
                if not stack:
                    return parent
                stack[-1][2].append(parent)

    def write(self, writer: Writer) -> None:
        """Writes this node and all below it."""
        # A stack entry is a node to be written, or the token that closes one.
        stack: list[EventMap | str | None] = [self]
        while stack:
            item = stack.pop()
            if item is None:
                writer.token("NULL")
            elif isinstance(item, str):
                writer.token(item)
                writer.newline()
            else:
                closing = item.write_head(writer)
                stack += [*([closing] if closing else []), *reversed(item.children())]

    def write_head(self, writer: Writer) -> str | None:
        """Writes what stands before the children; returns the token that closes the node, if it has one."""
        raise TypeError(f"{type(self).__name__} cannot be written")


class ConstantEventMap(EventMap):
    """A leaf.

    Args:
        answer: the pdf.
    """

    def __init__(self, answer: int) -> None:
        self.answer = answer

    def write_head(self, writer: Writer) -> None:
        """Writes ``CE`` and the pdf."""
        writer.token("CE")
        writer.int32(self.answer)


class TableEventMap(EventMap):
    """A node with one branch per value of a key.

    Args:
        key: the key that is asked.
        table: the node for each value from 0 on; None where there is none.
    """

    def __init__(self, key: int, table: list[EventMap | None]) -> None:
        self.key = key
        self.table = table

    def children(self) -> list[EventMap | None]:
        """The table."""
        return self.table

    def child(self, event: Mapping[int, int]) -> EventMap | None:
        """The node for the event's value of the key."""
        value = event.get(self.key, -1)
        return self.table[value] if 0 <= value < len(self.table) else None

    def close(self, reader: Reader, children: list[EventMap | None]) -> None:
        """Takes the nodes below and reads the token that closes the table."""
        self.table = children
        reader.expect(")")

    def write_head(self, writer: Writer) -> str:
        """Writes ``TE``, the key and the size."""
        writer.token("TE")
        writer.int32(self.key)
        writer.uint32(len(self.table))
        writer.token("(")
        return ")"


class SplitEventMap(EventMap):
    """A node with two branches.

    Args:
        key: the key that is asked.
        yes_set: (n,) int32: the values, in increasing order, that lead to ``yes``.
        yes: the node for these.
        no: the node for all others.
    """

    def __init__(self, key: int, yes_set: np.ndarray, yes: EventMap | None, no: EventMap | None) -> None:
        self.key = key
        self.yes_set = yes_set
        self.yes = yes
        self.no = no

    @cached_property
    def _members(self) -> frozenset[int]:
        return frozenset(self.yes_set.tolist())

    def children(self) -> list[EventMap | None]:
        """``yes`` and ``no``."""
        return [self.yes, self.no]

    def child(self, event: Mapping[int, int]) -> EventMap | None:
        """``yes`` or ``no``; None where the event does not have the key."""
        if self.key not in event:
            return None
        return self.yes if event[self.key] in self._members else self.no

    def close(self, reader: Reader, children: list[EventMap | None]) -> None:
        """Takes the nodes below and reads the token that closes the split."""
        self.yes, self.no = children
        if self.yes is None or self.no is None:
            reader.fail("a split of the tree has NULL below it")
        reader.expect("}")

    def write_head(self, writer: Writer) -> str:
        """Writes ``SE``, the key and the set."""
        writer.token("SE")
        writer.int32(self.key)
        writer.int_vector(self.yes_set)
        writer.token("{")
        return "}"


def _read_head(reader: Reader, context_width: int) -> tuple[EventMap | None, int]:
    """Reads a node up to its children; returns it and their number."""
    position = reader.position
    kind = reader.expect("CE", "TE", "SE", "NULL")
    if kind == "NULL":
        return None, 0
    value = reader.int32()
    if kind == "CE":
        if not 0 <= value <= _LARGEST_PDF:
            reader.fail(f"pdf {value} of the tree is out of range", position)
        return ConstantEventMap(value), 0
    if not PDF_CLASS <= value < context_width:
        reader.fail(f"expected a key from {PDF_CLASS} to {context_width - 1}, found {value}", position)
    if kind == "TE":
        size = reader.uint32()
        if size > (len(reader.data) - reader.position) // len("NULL "):
            reader.fail(f"a table of {size} nodes cannot follow in the bytes that are left", position)
        reader.expect("(")
        return TableEventMap(value, []), size
    yes_set = reader.int_vector()
    if np.any(np.diff(yes_set) <= 0):
        reader.fail("the values of a split are not in increasing order", position)
    reader.expect("{")
    return SplitEventMap(value, yes_set, None, None), 2
