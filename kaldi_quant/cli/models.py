"""The model files that verbs take: Kaldi's, and integer models, told apart by their first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from kaldi_quant.cli.model_options import ModelArguments
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.frame_subsampling import factor_of
from kaldi_quant.kaldi.outputs import OUTPUT

if TYPE_CHECKING:
    from kaldi_quant.formats.artefact import Artefact
    from kaldi_quant.nnet3.execution.network import OnnxruntimeNetwork
    from kaldi_quant.nnet3.model import AcousticModel

Engine = Literal["auto", "onnxruntime", "reference", "onednn", "x86", "fbgemm", "qnnpack"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass
class RunnableNetwork:
    """A network read from a file, ready to run.

    Args:
        model: runs it.
        priors: (num_pdfs,) or (0,) float32.
        subsampling: frames per output row, as an option, the file or its folder says.
        is_integer: whether it is an integer model.
        record: how it was made.
        companions: what lies beside it, or an integer model brings with it.
    """

    model: AcousticModel | OnnxruntimeNetwork
    priors: np.ndarray
    subsampling: int
    is_integer: bool
    record: dict[str, Any]
    companions: Companions


def read_network(
    path: str, engine: Engine = "auto", models: ModelArguments | None = None, subsampling: int | None = None
) -> RunnableNetwork:
    """Reads a model of either kind.

    Args:
        path: of the file.
        engine: what runs an integer model.
        models: which output of a float model is wanted; by default ``output``.
        subsampling: frames per output row, where an option says so.
    """
    models = models or ModelArguments(OUTPUT)
    if is_artefact(path):
        if models.output_node != OUTPUT:
            raise UsageError(f"--output-node {models.output_node}: {path} is an integer model, which has one output")
        from kaldi_quant.formats.artefact import load
        from kaldi_quant.formats.record import subsampling_in

        artefact = load(path)
        factor = subsampling_in(artefact.record, path, subsampling)
        model = _executable(artefact, factor, engine)
        companions = Companions.of_record(artefact.record, path, factor)
        return RunnableNetwork(model, artefact.model.priors, factor, True, artefact.record, companions)
    from kaldi_quant.formats.record import float_record
    from kaldi_quant.nnet3.model import AcousticModel

    read = models.read(path)
    factor = factor_of(read, subsampling)
    companions = Companions.beside(path, factor)
    network = AcousticModel(read.nnet)
    return RunnableNetwork(network, read.priors, factor, False, float_record(read.nnet), companions)


def _executable(artefact: Artefact, subsampling: int, engine: Engine) -> AcousticModel | OnnxruntimeNetwork:
    """An integer model on an engine; what PyTorch quantized runs on PyTorch by default."""
    from kaldi_quant.formats.record import torch_engine_in
    from kaldi_quant.nnet3 import execution
    from kaldi_quant.nnet3.torch_engines.network import executable

    recorded = torch_engine_in(artefact.record)
    match engine:
        case "auto" if recorded:
            return executable(artefact.network, recorded)
        case "auto" | "onnxruntime" | "reference":
            return execution.executable(artefact.network, subsampling, engine)
    return executable(artefact.network, engine)
