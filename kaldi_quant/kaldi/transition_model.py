"""The transition model: transition-ids, and what they stand for.

A transition-id (one-based) names one transition out of one transition-state, which is a distinct (phone, HMM state,
pdf of the forward transitions, pdf of the self-loop). Decoding graphs carry transition-ids as input labels.
Source: ``src/hmm/transition-model.{h,cc}`` of Kaldi.
"""

from __future__ import annotations

import os
from functools import cached_property

import numpy as np

from kaldi_quant.kaldi.hmm_topology import NO_PDF, HmmTopology
from kaldi_quant.kaldi.reader import BinaryReader, Reader, open_reader
from kaldi_quant.kaldi.writer import BinaryWriter, Writer

# Far above any tree; whoever allocates per pdf must not be led to gigabytes by a corrupt number.
_LARGEST_PDF = 1 << 24


class TransitionModel:
    """A transition model.

    Args:
        topology: the topologies of the phones.
        tuples: (transition-states, 4) int32: phone, HMM state, forward pdf, self-loop pdf; in increasing order.
        log_probs: (transition-ids + 1,) float32 or float64, element 0 unused; log probability of each transition-id.
    """

    def __init__(self, topology: HmmTopology, tuples: np.ndarray, log_probs: np.ndarray) -> None:
        self.topology = topology
        self.tuples = tuples
        self.log_probs = log_probs

    @property
    def num_transition_ids(self) -> int:
        """The largest transition-id."""
        return len(self.log_probs) - 1

    @property
    def num_transition_states(self) -> int:
        """The number of transition-states."""
        return len(self.tuples)

    @cached_property
    def num_pdfs(self) -> int:
        """One more than the largest pdf: the dimension that the network's output must have."""
        return int(self.tuples[:, 2:].max()) + 1

    @cached_property
    def transition_id_to_transition_state(self) -> np.ndarray:
        """(transition-ids + 1,) int32: the one-based transition-state of each transition-id; element 0 is -1."""
        counts = [len(self._transitions(tuple_)) for tuple_ in self.tuples]
        states = np.repeat(np.arange(1, len(counts) + 1, dtype=np.int32), counts)
        return np.concatenate([np.array([-1], np.int32), states])

    @cached_property
    def transition_id_to_phone(self) -> np.ndarray:
        """(transition-ids + 1,) int32: the phone of each transition-id; element 0 is -1."""
        return self._per_transition_id(self.tuples[:, 0])

    @cached_property
    def is_self_loop(self) -> np.ndarray:
        """(transition-ids + 1,) bool: whether the transition leads back to its own HMM state."""
        loops = [False]
        for tuple_ in self.tuples:
            loops += [destination == tuple_[1] for destination in self._transitions(tuple_)]
        return np.array(loops, bool)

    @cached_property
    def is_final(self) -> np.ndarray:
        """(transition-ids + 1,) bool: whether the transition leads to the final state of its phone."""
        final = [False]
        for tuple_ in self.tuples:
            last = len(self.topology.entry(int(tuple_[0]))) - 1
            final += [destination == last for destination in self._transitions(tuple_)]
        return np.array(final, bool)

    @cached_property
    def transition_id_to_pdf(self) -> np.ndarray:
        """(transition-ids + 1,) int32: the pdf, so the column of the log-likelihoods; element 0 is -1."""
        forward, loop = self._per_transition_id(self.tuples[:, 2]), self._per_transition_id(self.tuples[:, 3])
        return np.where(self.is_self_loop, loop, forward)

    def _transitions(self, tuple_: np.ndarray) -> list[int]:
        """The destinations of the transitions out of a transition-state."""
        state = self.topology.entry(int(tuple_[0]))[tuple_[1]]
        return [destination for destination, _ in state.transitions]

    def _per_transition_id(self, per_state: np.ndarray) -> np.ndarray:
        return np.concatenate([np.array([-1], np.int32), per_state[self.transition_id_to_transition_state[1:] - 1]])

    @classmethod
    def read(cls, reader: Reader) -> TransitionModel:
        """Reads ``<TransitionModel> … </TransitionModel>`` and leaves the reader right behind it.

        Raises:
            FormatError: the model is malformed, or refers to phones or states that its topology does not have.
        """
        reader.expect("<TransitionModel>")
        topology = HmmTopology.read(reader)
        position = reader.position
        old_form = reader.expect("<Tuples>", "<Triples>") == "<Triples>"
        tuples = _read_tuples(reader, 3 if old_form else 4)
        reader.expect("</Triples>" if old_form else "</Tuples>")
        expected = _count_transition_ids(reader, topology, tuples, position)
        reader.expect("<LogProbs>")
        position = reader.position
        log_probs = reader.vector()
        if len(log_probs) != expected + 1:
            reader.fail(f"expected {expected + 1} transition log-probabilities, found {len(log_probs)}", position)
        if not np.all(np.isfinite(log_probs)) or np.any(log_probs[1:] > 0):
            reader.fail("a transition log-probability is not finite or is positive", position)
        reader.expect("</LogProbs>")
        reader.expect("</TransitionModel>")
        return cls(topology, tuples, log_probs)

    def write(self, writer: Writer) -> None:
        """Writes ``<TransitionModel> … </TransitionModel>``."""
        name, columns = ("Triples", 3) if self.topology.is_hmm() else ("Tuples", 4)
        writer.token("<TransitionModel>")
        writer.newline()
        self.topology.write(writer)
        writer.token(f"<{name}>")
        writer.int32(len(self.tuples))
        writer.newline()
        _write_tuples(writer, self.tuples[:, :columns])
        writer.token(f"</{name}>")
        writer.newline()
        writer.token("<LogProbs>")
        writer.newline()
        writer.vector(self.log_probs)
        writer.token("</LogProbs>")
        writer.newline()
        writer.token("</TransitionModel>")
        writer.newline()


def _read_tuples(reader: Reader, columns: int) -> np.ndarray:
    """Reads a counted list of tuples: (n, 4) int32; a triple's only pdf serves as both."""
    width = 5 if isinstance(reader, BinaryReader) else 2
    number = reader.count("transition-states", columns * width)
    rows = [[reader.int32() for _ in range(columns)] for _ in range(number)]
    tuples = np.array(rows, np.int32).reshape(number, columns)
    return tuples if columns == 4 else np.column_stack([tuples, tuples[:, 2]])


def _write_tuples(writer: Writer, tuples: np.ndarray) -> None:
    if isinstance(writer, BinaryWriter):
        sized = np.empty(tuples.size, np.dtype([("width", "i1"), ("value", "<i4")]))
        sized["width"], sized["value"] = 4, tuples.ravel()
        writer.raw(sized.tobytes())
        return
    for row in tuples.tolist():
        for value in row:
            writer.int32(value)
        writer.newline()


def _count_transition_ids(reader: Reader, topology: HmmTopology, tuples: np.ndarray, position: int) -> int:
    """Checks the tuples against the topology and counts their transitions, before anything is allocated for these."""
    if not len(tuples):
        reader.fail("the transition model has no transition-states", position)
    number, previous = 0, (-1, -1, -1, -1)
    for phone, hmm_state, forward_pdf, self_loop_pdf in map(tuple, tuples.tolist()):
        where = f"transition-state (phone {phone}, HMM state {hmm_state}, pdfs {forward_pdf} and {self_loop_pdf})"
        try:
            entry = topology.entry(phone)
        except KeyError:
            reader.fail(f"{where}: the topology does not have this phone", position)
        if not 0 <= hmm_state < len(entry):
            reader.fail(f"{where}: the phone's topology has {len(entry)} states", position)
        destinations = [destination for destination, _ in entry[hmm_state].transitions]
        if not 0 <= forward_pdf <= _LARGEST_PDF or not NO_PDF <= self_loop_pdf <= _LARGEST_PDF:
            reader.fail(f"{where}: the pdf is out of range", position)
        if self_loop_pdf == NO_PDF and hmm_state in destinations:
            reader.fail(f"{where}: the state has a self-loop without a pdf", position)
        if (phone, hmm_state, forward_pdf, self_loop_pdf) <= previous:
            reader.fail(f"{where}: the transition-states are not in increasing order", position)
        previous = (phone, hmm_state, forward_pdf, self_loop_pdf)
        number += len(destinations)
    return number


def read_transition_model(path: str | os.PathLike[str]) -> TransitionModel:
    """Reads the transition model at the beginning of ``path``: a bare one (``0.trans_mdl``) or a whole ``.mdl``.

    Raises:
        FormatError: the file is missing or does not begin with a transition model.
    """
    return TransitionModel.read(open_reader(path))
