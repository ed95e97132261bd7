"""``dequantized.mdl``: the quantized weights in a Kaldi model, which Kaldi and Vosk run with activations in float."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.formats.artefact import Artefact
from kaldi_quant.kaldi.model import AmNnetSimple, Model
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.quant.network import QuantizedNetwork


def dequantized_model(network: QuantizedNetwork, model: Model) -> Model:
    """A network's quantized weights in float, with the transition model, priors and context of a model.

    Args:
        network: the integer network.
        model: that it was made from.
    """
    nnet = nnet_of(network.dequantized())
    whole = replace(model.network, nnet=nnet) if isinstance(model.network, AmNnetSimple) else nnet
    return replace(model, network=whole)


def write_dequantized(path: str | os.PathLike[str], artefact: Artefact) -> Path:
    """Writes a model in Kaldi's binary form.

    Args:
        path: of the file.
        artefact: the integer model.

    Returns:
        the file's path.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    with atomic_write(path) as stream:
        stream.write(dequantized_model(artefact.network, artefact.model).getvalue(binary=True))
    return Path(path)
