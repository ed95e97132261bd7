"""The model files that verbs take: Kaldi's, and integer models, told apart by their first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaldi_quant.cli.inference_options import subsampling_of
from kaldi_quant.kaldi.model import read_model

if TYPE_CHECKING:
    from kaldi_quant.nnet.model import AcousticModel

ENGINES = ("auto", "fast", "reference")


@dataclass
class RunnableNetwork:
    """A network read from a file, ready to run.

    Args:
        model: runs it.
        priors: (num_pdfs,) or (0,) float32.
        subsampling: frames per output row, as the file or its folder says.
        is_integer: whether it is an integer model.
    """

    model: AcousticModel
    priors: np.ndarray
    subsampling: int
    is_integer: bool


def is_artefact(path: str) -> bool:
    """Whether a file is a safetensors file: eight bytes of a length, then the brace of its header."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(9)[8:] == b"{"
    except OSError:
        return False


def read_network(path: str, engine: str = "auto", num_threads: int = 0) -> RunnableNetwork:
    """Reads a model of either kind.

    Args:
        path: of the file.
        engine: what runs an integer model.
        num_threads: of an integer model's fast engine; 0 for its own choice.
    """
    if is_artefact(path):
        from kaldi_quant.export.artefact import load
        from kaldi_quant.quant.fast import integer_model

        artefact = load(path)
        model = integer_model(artefact.network, engine, num_threads)
        return RunnableNetwork(model, artefact.model.priors, int(artefact.record["frame_subsampling_factor"]), True)
    from kaldi_quant.nnet.model import AcousticModel

    read = read_model(path)
    return RunnableNetwork(AcousticModel(read.nnet), read.priors, subsampling_of(path), False)
