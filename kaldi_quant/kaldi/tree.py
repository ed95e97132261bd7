"""The phonetic-context decision tree.

Source: ``src/tree/context-dep.{h,cc}`` of Kaldi.
"""

from __future__ import annotations

import os
from functools import cached_property

from kaldi_quant.kaldi.event_map import PDF_CLASS, ConstantEventMap, EventMap
from kaldi_quant.kaldi.reader import Reader, open_reader
from kaldi_quant.kaldi.writer import Writer

_LARGEST_CONTEXT = 100


class ContextDependency:
    """A context-dependency tree.

    Args:
        context_width: N, the number of phones in the window.
        central_position: P, the zero-based position of the central phone.
        to_pdf: the tree; an event holds the window's phones under their positions and the pdf-class under PDF_CLASS.
        to_num_pdf_classes: the tree ``ToLength`` that early files carry; kept so that they are written back.
    """

    def __init__(
        self,
        context_width: int,
        central_position: int,
        to_pdf: EventMap,
        to_num_pdf_classes: EventMap | None = None,
    ) -> None:
        self.context_width = context_width
        self.central_position = central_position
        self.to_pdf = to_pdf
        self.to_num_pdf_classes = to_num_pdf_classes

    @cached_property
    def num_pdfs(self) -> int:
        """One more than the largest pdf of any leaf."""
        return 1 + max((node.answer for node in self.to_pdf.nodes() if isinstance(node, ConstantEventMap)), default=-1)

    def pdf(self, window: list[int], pdf_class: int) -> int | None:
        """The pdf of a window of ``context_width`` phones (0 beyond an utterance's ends), None where there is none."""
        return self.to_pdf.map({**dict(enumerate(window)), PDF_CLASS: pdf_class})

    @classmethod
    def read(cls, reader: Reader) -> ContextDependency:
        """Reads ``ContextDependency … EndContextDependency``.

        Raises:
            FormatError: the tree is malformed.
        """
        reader.expect("ContextDependency")
        position = reader.position
        width, central = reader.int32(), reader.int32()
        if not 0 < width <= _LARGEST_CONTEXT or not 0 <= central < width:
            reader.fail(f"a context of {width} phones cannot have its central phone at {central}", position)
        lengths = None
        if reader.expect("ToPdf", "ToLength") == "ToLength":
            lengths = EventMap.read(reader, width)
            reader.expect("ToPdf")
        position = reader.position
        to_pdf = EventMap.read(reader, width)
        if to_pdf is None:
            reader.fail("expected a tree behind ToPdf, found NULL", position)
        reader.expect("EndContextDependency")
        return cls(width, central, to_pdf, lengths)

    def write(self, writer: Writer) -> None:
        """Writes ``ContextDependency … EndContextDependency``."""
        writer.token("ContextDependency")
        writer.int32(self.context_width)
        writer.int32(self.central_position)
        if self.to_num_pdf_classes is not None:
            writer.token("ToLength")
            self.to_num_pdf_classes.write(writer)
        writer.token("ToPdf")
        self.to_pdf.write(writer)
        writer.token("EndContextDependency")


def read_context_dependency(path: str | os.PathLike[str]) -> ContextDependency:
    """Reads a ``tree`` file, binary or text.

    Raises:
        FormatError: the file is missing or malformed.
    """
    return ContextDependency.read(open_reader(path))
