"""Acoustic model files: ``.mdl`` (a transition model and an AmNnetSimple) and raw nnet3.

Source: ``src/nnet3/am-nnet-simple.cc``, ``src/nnet3bin/nnet3-am-copy.cc``. A file that is read and written back in its
own form is the same byte for byte.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.kaldi.reader import BinaryReader, Reader, open_reader
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.writer import Writer, make_writer


@dataclass
class AmNnetSimple:
    """A network with its context and priors.

    Args:
        nnet: the network.
        left_context: frames before the one that is computed, as written in the file; Kaldi recomputes it.
        right_context: frames after it, likewise.
        priors: (num_pdfs,) float32; empty for chain models, whose output is a pseudo-log-likelihood already.
    """

    nnet: Nnet
    left_context: int
    right_context: int
    priors: np.ndarray

    @classmethod
    def read(cls, reader: Reader) -> AmNnetSimple:
        """Reads what follows the transition model in a ``.mdl``."""
        nnet = Nnet.read(reader)
        reader.expect("<LeftContext>")
        left_context = reader.int32()
        reader.expect("<RightContext>")
        right_context = reader.int32()
        reader.expect("<Priors>")
        position = reader.position
        priors = reader.vector()
        num_pdfs = nnet.node_dim("output") if "output" in nnet.nodes else 0
        if len(priors) not in (0, num_pdfs):
            reader.fail(f"expected no priors or {num_pdfs}, one for each output, found {len(priors)}", position)
        return cls(nnet, left_context, right_context, priors)

    def write(self, writer: Writer) -> None:
        """Writes what follows the transition model in a ``.mdl``."""
        self.nnet.write(writer)
        writer.token("<LeftContext>")
        writer.int32(self.left_context)
        writer.token("<RightContext>")
        writer.int32(self.right_context)
        writer.token("<Priors>")
        writer.vector(self.priors)


@dataclass
class Model:
    """What an acoustic model file holds.

    Args:
        network: an AmNnetSimple for a ``.mdl``, a bare Nnet for a raw file.
        transition_model: None for a raw file.
        binary: the form that the file had.
        path: where it came from.
    """

    network: AmNnetSimple | Nnet
    transition_model: TransitionModel | None
    binary: bool
    path: str

    @property
    def nnet(self) -> Nnet:
        """The network itself."""
        return self.network.nnet if isinstance(self.network, AmNnetSimple) else self.network

    @property
    def priors(self) -> np.ndarray:
        """(num_pdfs,) or (0,) float32: the priors of a ``.mdl``; none for raw networks."""
        return self.network.priors if isinstance(self.network, AmNnetSimple) else np.zeros(0, np.float32)

    def bare(self) -> Model:
        """The network alone: a raw file."""
        return Model(self.nnet, None, self.binary, self.path)

    def digest(self) -> str:
        """What tells the model from others: SHA-256 of what ``getvalue`` returns."""
        return hashlib.sha256(self.getvalue()).hexdigest()

    def getvalue(self, binary: bool = True) -> bytes:
        """The file's content in the binary or the text form."""
        writer = make_writer(binary)
        if self.transition_model is not None:
            self.transition_model.write(writer)
        self.network.write(writer)
        return writer.getvalue()


def read_model(path: str | os.PathLike[str]) -> Model:
    """Reads a ``.mdl`` or a raw nnet3 file, binary or text.

    Raises:
        FormatError: the file is missing, truncated or malformed; names the byte offset.
        ModelError: the graph or a component contradicts itself; names the node.
    """
    reader = open_reader(path)
    transition_model = TransitionModel.read(reader) if reader.peek_token() == "<TransitionModel>" else None
    if reader.peek_token() != "<Nnet3>":
        reader.fail(f"expected an nnet3 network (<Nnet3>), found {reader.peek_token()[:40]!r}")
    network = AmNnetSimple.read(reader) if transition_model is not None else Nnet.read(reader)
    if not reader.at_end():
        reader.fail("the model ends here, but the file goes on")
    return Model(network, transition_model, isinstance(reader, BinaryReader), reader.path)
