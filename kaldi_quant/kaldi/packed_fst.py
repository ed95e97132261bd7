"""The FSTs of many chain examples unpacked and checked together, with a few operations on arrays for all of them.

Only FSTs of frames in OpenFST's compact form without labels 0 are unpacked here. What differs, or is not as it should
be, is left to ``SupervisionFst.read`` and ``Supervision.read``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kaldi_quant.kaldi.fst import ARC, FST_MAGIC
from kaldi_quant.kaldi.supervision_fst import COMPACT, COMPACT_ELEMENT, NO_LABEL, VERSION, SupervisionFst

_NAMES = b"".join(struct.pack("<i", len(name)) + name for name in (COMPACT.encode(), b"standard"))
# Version 2 without flags, then properties, start, states, arcs.
_HEADER = struct.pack("<i", FST_MAGIC) + _NAMES + struct.pack("<ii", VERSION, 0)
_SIZES = struct.Struct("<Qqqq")
_OFFSET = struct.Struct("<I")
_ERROR_PROPERTY = 4  # kError


class PackedFst(NamedTuple):
    """Where an FST is.

    Args:
        properties: the bits of its header.
        states: its states.
        arcs: its arcs.
        begin: where it begins.
        offsets: where the offsets of its states begin.
        elements: where its arcs and final costs begin.
        end: where it ends.
    """

    properties: int
    states: int
    arcs: int
    begin: int
    offsets: int
    elements: int
    end: int

    @classmethod
    def find(cls, data: bytes, position: int) -> PackedFst | None:
        """An FST that begins at a position; None where it has another form, or is not all there."""
        offsets = position + len(_HEADER) + _SIZES.size
        if not data.startswith(_HEADER, position) or len(data) < offsets:
            return None
        properties, start, states, arcs = _SIZES.unpack_from(data, position + len(_HEADER))
        elements = offsets + 4 * (states + 1)
        if start != 0 or not 0 < states <= len(data) or properties & _ERROR_PROPERTY or elements > len(data):
            return None
        (number,) = _OFFSET.unpack_from(data, elements - 4)
        end = elements + COMPACT_ELEMENT.itemsize * number
        return cls(properties, states, arcs, position, offsets, elements, end) if end <= len(data) else None

    def moved(self, by: int) -> PackedFst:
        """The same, seen from another position."""
        places = (self.begin + by, self.offsets + by, self.elements + by, self.end + by)
        return PackedFst(self.properties, self.states, self.arcs, *places)


# The bytes that hold an FST, where it is in them, its frames, and the number of pdfs.
Given = tuple[bytes, PackedFst, int, int]


def unpack_fsts(given: Sequence[Given]) -> list[SupervisionFst | None]:
    """Unpacks FSTs.

    Returns:
        the FSTs; None for those that are not as expected.
    """
    good = np.ones(len(given), bool)
    while good.any():
        chosen = [one for one, ok in zip(given, good.tolist(), strict=True) if ok]
        fsts, wrong = _unpack(chosen)
        if not wrong.any():
            found = iter(fsts)
            return [next(found) if ok else None for ok in good.tolist()]
        good[np.flatnonzero(good)[wrong]] = False
    return [None] * len(given)


def _unpack(given: list[Given]) -> tuple[list[SupervisionFst], np.ndarray]:
    """The FSTs, unless some are wrong; and which of them are."""
    number = len(given)
    states = np.array([fst.states for _, fst, _, _ in given])
    content = b"".join([data[fst.offsets : fst.elements] for data, fst, _, _ in given])
    offsets = np.frombuffer(content, "<u4").astype(np.int64)
    content = b"".join([data[fst.elements : fst.end] for data, fst, _, _ in given])
    elements = np.frombuffer(content, COMPACT_ELEMENT)
    # All states are counted through; each FST has an offset more than states.
    last_offset = np.cumsum(states + 1) - 1
    first_state = np.cumsum(states) - states
    owner = np.repeat(np.arange(number), states)
    num_elements = offsets[last_offset]
    wrong = offsets[last_offset - states] != 0
    counts = np.delete(np.diff(offsets, append=0), last_offset)
    wrong[owner[counts < 0]] = True
    if wrong.any():
        return [], wrong
    first_element = np.repeat(np.cumsum(num_elements) - num_elements, states) + np.delete(offsets, last_offset)
    some = counts > 0
    is_final = np.zeros(len(owner), bool)
    is_final[some] = elements["label"][first_element[some]] == NO_LABEL
    places = first_element[is_final]
    final = np.full(len(owner), np.inf, np.float32)
    final[is_final] = elements["weight"][places]
    wrong[owner[is_final][(elements["nextstate"][places] != -1) | ~np.isfinite(final[is_final])]] = True
    kept = np.ones(len(elements), bool)
    kept[places] = False
    elements, counts = elements[kept], counts - is_final
    source = np.repeat(np.arange(len(owner)), counts)
    arc_owner, label, target = owner[source], elements["label"], elements["nextstate"]
    label_dim = np.array([dim for _, _, _, dim in given])
    weight = elements["weight"]
    bad = (label < 1) | (label > label_dim[arc_owner]) | np.isnan(weight) | (weight == -np.inf)
    bad |= (target < 0) | (target >= states[arc_owner])
    wrong[arc_owner[bad]] = True
    num_arcs = np.bincount(arc_owner, minlength=number)
    wrong |= num_arcs != [fst.arcs for _, fst, _, _ in given]
    wrong |= np.bincount(owner[is_final], minlength=number) == 0
    if wrong.any():
        return [], wrong
    root = first_state[owner]
    times, wrong = _times(source, target + first_state[arc_owner], root, owner, number)
    frames = np.array([frames for _, _, frames, _ in given])
    wrong[owner[is_final][times[is_final] != frames[owner[is_final]]]] = True
    wrong |= times[first_state + states - 1] != frames
    arcs = np.empty(len(elements), ARC)
    arcs["ilabel"] = arcs["olabel"] = label
    arcs["weight"], arcs["nextstate"] = weight, target
    return _shared_out(given, states, num_arcs, counts, (final, arcs, times)), wrong


def _times(
    source: np.ndarray, target: np.ndarray, root: np.ndarray, owner: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """The frame that each state begins, and which FSTs have none: see ``compute_state_times``.

    Args:
        source: (arcs,), the state that each arc leaves, counted through all FSTs.
        target: (arcs,), where it leads to.
        root: (states,), the first state of each state's FST.
        owner: (states,), its FST.
        number: of FSTs.
    """
    own = np.arange(len(root))
    before = root.copy()
    before[target[::-1]] = source[::-1]
    times = (own != root).astype(np.int64)
    first = own == root
    before[first] = own[first]
    for _ in range(len(root).bit_length()):
        times += times[before]
        before = before[before]
        if (before == root).all():
            break
    wrong = np.zeros(number, bool)
    reached = first.copy()
    reached[target] = True
    wrong[owner[~reached]] = True
    wrong[owner[source[times[target] != times[source] + 1]]] = True
    wrong[owner[1:][(np.diff(times) < 0) & ~first[1:]]] = True
    return times, wrong


def _shared_out(
    given: list[Given],
    states: np.ndarray,
    num_arcs: np.ndarray,
    counts: np.ndarray,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> list[SupervisionFst]:
    final, arcs, times = arrays
    behind = np.concatenate([[0], np.cumsum(counts)])
    state, arc = 0, 0
    fsts = []
    for (_, packed, _, _), of_states, of_arcs in zip(given, states.tolist(), num_arcs.tolist(), strict=True):
        end = state + of_states
        fst = SupervisionFst(
            0, final[state:end], behind[state : end + 1] - arc, arcs[arc : arc + of_arcs], COMPACT, packed.properties
        )
        fst.state_times = times[state:end]
        fsts.append(fst)
        state, arc = end, arc + of_arcs
    return fsts
