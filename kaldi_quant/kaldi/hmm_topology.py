"""The HMM topologies of the phones.

Source: ``src/hmm/hmm-topology.{h,cc}`` of Kaldi; the checks are those of ``HmmTopology::Check``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kaldi_quant.kaldi.reader import BinaryReader, Reader
from kaldi_quant.kaldi.writer import BinaryWriter, Writer

NO_PDF = -1  # kNoPdf: the pdf-class of a non-emitting state

# phone2idx has an entry for every integer up to the largest phone: a corrupt phone must not allocate gigabytes.
_LARGEST_PHONE = 1_000_000


@dataclass
class HmmState:
    """One state of a topology entry.

    Args:
        forward_pdf_class: the pdf-class of the transitions that leave the state; NO_PDF where it is not emitting.
        self_loop_pdf_class: the pdf-class of its self-loop.
        transitions: (destination state, probability) pairs; a probability's dtype is its width in the file.
    """

    forward_pdf_class: int
    self_loop_pdf_class: int
    transitions: list[tuple[int, np.floating]] = field(default_factory=list)


TopologyEntry = list[HmmState]


@dataclass
class HmmTopology:
    """The topologies and the phones that have them.

    Args:
        phones: (n,) int32, the phones in increasing order.
        phone2idx: (largest phone + 1,) int32, the index of a phone's entry; -1 for what is not a phone.
        entries: the topologies; the last state of each is final and does not emit.
    """

    phones: np.ndarray
    phone2idx: np.ndarray
    entries: list[TopologyEntry]

    def entry(self, phone: int) -> TopologyEntry:
        """The topology of ``phone``.

        Raises:
            KeyError: the phone has none.
        """
        if not 0 <= phone < len(self.phone2idx) or self.phone2idx[phone] < 0:
            raise KeyError(phone)
        return self.entries[self.phone2idx[phone]]

    def is_hmm(self) -> bool:
        """True when every state has the same pdf-class for its self-loop and for its other transitions.

        Decides which of two forms is written; chain models are not HMMs in this sense.
        """
        return all(
            state.forward_pdf_class == state.self_loop_pdf_class
            for index in np.unique(self.phone2idx[self.phones])
            for state in self.entries[index]
        )

    @classmethod
    def read(cls, reader: Reader) -> HmmTopology:
        """Reads ``<Topology> … </Topology>``.

        Raises:
            FormatError: the topology is malformed or inconsistent.
        """
        position = reader.position
        reader.expect("<Topology>")
        topology = _read_binary(reader) if isinstance(reader, BinaryReader) else _read_text(reader)
        topology._check(reader, position)
        return topology

    def write(self, writer: Writer) -> None:
        """Writes ``<Topology> … </Topology>``."""
        writer.token("<Topology>")
        writer.newline()
        if isinstance(writer, BinaryWriter):
            self._write_binary(writer)
        else:
            self._write_text(writer)
        writer.token("</Topology>")
        writer.newline()

    def _write_binary(self, writer: Writer) -> None:
        is_hmm = self.is_hmm()
        writer.int_vector(self.phones)
        writer.int_vector(self.phone2idx)
        if not is_hmm:
            writer.int32(-1)
        writer.int32(len(self.entries))
        for entry in self.entries:
            writer.int32(len(entry))
            for state in entry:
                writer.int32(state.forward_pdf_class)
                if not is_hmm:
                    writer.int32(state.self_loop_pdf_class)
                writer.int32(len(state.transitions))
                for destination, probability in state.transitions:
                    writer.int32(destination)
                    writer.float(probability)

    def _write_text(self, writer: Writer) -> None:
        is_hmm = self.is_hmm()
        for index, entry in enumerate(self.entries):
            writer.token("<TopologyEntry>")
            writer.newline()
            writer.token("<ForPhones>")
            writer.newline()
            for phone in np.flatnonzero(self.phone2idx == index).tolist():
                writer.int32(phone)
            writer.newline()
            writer.token("</ForPhones>")
            writer.newline()
            for number, state in enumerate(entry):
                _write_text_state(writer, number, state, is_hmm)
            writer.token("</TopologyEntry>")
            writer.newline()

    def _check(self, reader: Reader, position: int) -> None:
        """What Kaldi's Check refuses is refused here too."""
        phones, phone2idx, entries = self.phones, self.phone2idx, self.entries
        if not len(phones) or not entries:
            reader.fail("the topology has no phones or no entries", position)
        if np.any(np.diff(phones) <= 0) or phones[0] <= 0:
            reader.fail("the topology's phones are not positive and in increasing order", position)
        if phones[-1] >= len(phone2idx):
            reader.fail(f"phone {phones[-1]} of the topology has no entry", position)
        used = phone2idx[phones]
        if used.min() < 0 or phone2idx.max() >= len(entries):
            reader.fail("the topology refers to an entry that is not there", position)
        if len(np.unique(used)) != len(entries):
            reader.fail("the topology has an entry without phones", position)
        for index, entry in enumerate(entries):
            problem = _problem(entry)
            if problem:
                reader.fail(f"topology entry {index}: {problem}", position)


def _read_binary(reader: Reader) -> HmmTopology:
    phones, phone2idx = reader.int_vector(), reader.int_vector()
    after = reader.position
    is_hmm = reader.int32() != -1
    if is_hmm:
        reader.position = after
    entries = []
    for _ in range(reader.count("topology entries", 5)):
        entry = []
        for _ in range(reader.count("states", 10)):
            forward = reader.int32()
            state = HmmState(forward, forward if is_hmm else reader.int32())
            for _ in range(reader.count("transitions", 10)):
                state.transitions.append((reader.int32(), reader.float32()))
            entry.append(state)
        entries.append(entry)
    reader.expect("</Topology>")
    return HmmTopology(phones, phone2idx, entries)


def _read_text(reader: Reader) -> HmmTopology:
    entry_of: dict[int, int] = {}
    entries: list[TopologyEntry] = []
    while reader.expect("<TopologyEntry>", "</Topology>") == "<TopologyEntry>":
        reader.expect("<ForPhones>")
        while reader.peek_token() != "</ForPhones>":
            position = reader.position
            phone = reader.int32()
            if not 0 < phone <= _LARGEST_PHONE:
                reader.fail(f"expected a phone, 1 to {_LARGEST_PHONE}, found {phone}", position)
            if phone in entry_of:
                reader.fail(f"phone {phone} is in two topology entries", position)
            entry_of[phone] = len(entries)
        reader.token()
        entry: TopologyEntry = []
        while reader.expect("<State>", "</TopologyEntry>") == "<State>":
            entry.append(_read_text_state(reader, len(entry)))
        entries.append(entry)
    phones = np.array(sorted(entry_of), np.int32)
    phone2idx = np.full(phones[-1] + 1 if len(phones) else 0, -1, np.int32)
    phone2idx[phones] = [entry_of[phone] for phone in phones.tolist()]
    return HmmTopology(phones, phone2idx, entries)


def _read_text_state(reader: Reader, expected: int) -> HmmState:
    position = reader.position
    number = reader.int32()
    if number != expected:
        reader.fail(f"expected state {expected} of the topology entry, found state {number}", position)
    state = HmmState(NO_PDF, NO_PDF)
    token = reader.expect("<PdfClass>", "<ForwardPdfClass>", "<Transition>", "</State>")
    if token in ("<PdfClass>", "<ForwardPdfClass>"):
        state.forward_pdf_class = state.self_loop_pdf_class = reader.int32()
        if token == "<ForwardPdfClass>":
            reader.expect("<SelfLoopPdfClass>")
            state.self_loop_pdf_class = reader.int32()
        token = reader.expect("<Transition>", "</State>")
    while token == "<Transition>":
        state.transitions.append((reader.int32(), reader.float32()))
        token = reader.expect("<Transition>", "</State>")
    return state


def _write_text_state(writer: Writer, number: int, state: HmmState, is_hmm: bool) -> None:
    writer.token("<State>")
    writer.int32(number)
    if state.forward_pdf_class != NO_PDF:
        writer.token("<PdfClass>" if is_hmm else "<ForwardPdfClass>")
        writer.int32(state.forward_pdf_class)
        if not is_hmm:
            writer.token("<SelfLoopPdfClass>")
            writer.int32(state.self_loop_pdf_class)
    for destination, probability in state.transitions:
        writer.token("<Transition>")
        writer.int32(destination)
        writer.float(probability)
    writer.token("</State>")
    writer.newline()


def _problem(entry: TopologyEntry) -> str | None:
    """What is wrong with a topology entry, or None."""
    final = len(entry) - 1
    if final < 1:
        return f"{len(entry)} states, at least two are needed"
    if entry[final].transitions or entry[final].forward_pdf_class != NO_PDF:
        return "its last state must not emit and must have no transitions"
    entered = {0}
    classes: set[int] = set()
    for number, state in enumerate(entry):
        emits = state.forward_pdf_class != NO_PDF
        destinations = [destination for destination, _ in state.transitions]
        if number < final and not destinations:
            return f"state {number} has no transitions"
        if any(not 0 <= destination <= final for destination in destinations):
            return f"state {number} has a transition to a state that is not there"
        if len(set(destinations)) < len(destinations):
            return f"state {number} has two transitions to one state"
        if any(not 0 < probability < np.inf for _, probability in state.transitions):
            return f"state {number} has a transition whose probability is not positive"
        if not emits and (final in destinations or number in destinations):
            return f"state {number} does not emit and has a self-loop or a transition to the last state"
        entered.update(destinations)
        classes.update((state.forward_pdf_class, state.self_loop_pdf_class) if emits else ())
    if len(entered) <= final:
        return "a state has no transition into it"
    if classes != set(range(len(classes))) or not classes:
        return "its pdf-classes are not 0, 1, 2, …"
    return None
