"""What a chain example says about its frames: the permitted sequences of pdfs, as FSTs.

Source: ``chain::Supervision`` in ``src/chain/chain-supervision.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.reader import Reader
from kaldi_quant.kaldi.supervision_epsilons import without_epsilons
from kaldi_quant.kaldi.supervision_fst import SupervisionFst
from kaldi_quant.kaldi.supervision_join import join
from kaldi_quant.kaldi.writer import Writer


@dataclass
class Supervision:
    """The numerator of the chain objective, for sequences of equal length.

    Args:
        weight: of the objective of these sequences.
        num_sequences: how many sequences.
        frames_per_sequence: output frames of each.
        label_dim: the number of pdfs; the FSTs' labels are pdf-ids plus one.
        end_to_end: False for FSTs of which each path has one arc per frame; True for one FST per sequence whose
            paths may stay in a state.
        fsts: one for each sequence; or, unless end to end, for several sequences that follow one another.
        alignment_pdfs: (frames,) int32 or (0,), one permitted sequence of pdfs, for statistics.
    """

    weight: np.floating
    num_sequences: int
    frames_per_sequence: int
    label_dim: int
    end_to_end: bool
    fsts: list[SupervisionFst]
    alignment_pdfs: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    @classmethod
    def read(cls, reader: Reader) -> Supervision:
        """Reads a supervision.

        Raises:
            FormatError: the file holds something else, ends too early, or an FST does not fit the frames and pdfs.
        """
        reader.expect("<Supervision>")
        reader.expect("<Weight>")
        begin = reader.position
        weight = reader.float32()
        if not np.isfinite(weight) or weight < 0:
            reader.fail(f"the weight of a supervision is {weight}, expected a number from 0 on", begin)
        sizes = []
        for token in ("<NumSequences>", "<FramesPerSeq>", "<LabelDim>"):
            reader.expect(token)
            begin = reader.position
            sizes.append(reader.int32())
            if sizes[-1] < 1:
                reader.fail(f"{token} of a supervision is {sizes[-1]}, expected at least 1", begin)
        num_sequences, frames, label_dim = sizes
        reader.expect("<End2End>")
        end_to_end = reader.bool()
        supervision = cls(weight, num_sequences, frames, label_dim, end_to_end, [])
        if end_to_end:
            reader.expect("<Fsts>")
        for _ in range(num_sequences if end_to_end else 1):
            begin = reader.position
            supervision.fsts.append(supervision._checked(reader, SupervisionFst.read(reader), begin))
        if end_to_end:
            reader.expect("</Fsts>")
        if reader.expect("<AlignmentPdfs>", "</Supervision>") == "<AlignmentPdfs>":
            supervision.alignment_pdfs = reader.int_vector()
            reader.expect("</Supervision>")
        return supervision

    def _checked(self, reader: Reader, fst: SupervisionFst, begin: int) -> SupervisionFst:
        """The FST without arcs that take no frame."""
        if np.any(fst.ilabel < 0) or np.any(fst.ilabel > self.label_dim):
            reader.fail(f"a label of the supervision's FST is not one of the {self.label_dim} pdfs", begin)
        try:
            fst = without_epsilons(fst)
        except ValueError as error:
            reader.fail(f"the supervision's FST cannot be read: {error}", begin)
        if np.all(fst.final == np.inf):
            reader.fail("the supervision's FST has no final state", begin)
        if self.end_to_end:
            return fst
        try:
            frames = int(fst.state_times[-1])
        except ValueError as error:
            reader.fail(f"the supervision's FST is not one of frames: {error}", begin)
        expected = self.num_sequences * self.frames_per_sequence
        if frames != expected or fst.state_times[fst.final != np.inf][0] != frames:
            reader.fail(f"the supervision's FST has paths of {frames} frames, expected {expected}", begin)
        return fst

    @property
    def kind(self) -> tuple[object, ...]:
        """What supervisions must share to be merged."""
        return float(self.weight), self.frames_per_sequence, self.label_dim, self.end_to_end

    def write(self, writer: Writer) -> None:
        """Writes the supervision; several FSTs of frames become one, as Kaldi's ``MergeSupervision`` makes it."""
        for token in ("<Supervision>", "<Weight>"):
            writer.token(token)
        writer.float(self.weight)
        sizes = (self.num_sequences, self.frames_per_sequence, self.label_dim)
        for token, size in zip(("<NumSequences>", "<FramesPerSeq>", "<LabelDim>"), sizes, strict=True):
            writer.token(token)
            writer.int32(size)
        writer.token("<End2End>")
        writer.bool(self.end_to_end)
        if self.end_to_end:
            writer.token("<Fsts>")
        for fst in self.fsts if self.end_to_end else [join(self.fsts)]:
            fst.write(writer)
        if self.end_to_end:
            writer.token("</Fsts>")
        if len(self.alignment_pdfs):
            writer.token("<AlignmentPdfs>")
            writer.int_vector(self.alignment_pdfs)
        writer.token("</Supervision>")


def merge_supervisions(parts: Sequence[Supervision]) -> Supervision:
    """Makes one supervision of several, for a minibatch.

    Raises:
        DataError: they differ in weight, frames, pdfs or kind.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        for what, one, other in zip(("weight", "length", "pdfs", "kind"), first.kind, part.kind, strict=True):
            if one != other:
                raise DataError(f"supervisions of different {what} ({one} and {other}) cannot be in one minibatch")
    return Supervision(
        first.weight,
        sum(part.num_sequences for part in parts),
        first.frames_per_sequence,
        first.label_dim,
        first.end_to_end,
        [fst for part in parts for fst in part.fsts],
    )
