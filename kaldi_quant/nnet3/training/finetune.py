"""Fine-tuning a float model: with Kaldi's own objective, from Kaldi's own examples, or with another as its teacher."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.egs_folder import EgsFolder, EgsInfo
from kaldi_quant.kaldi.model import AmNnetSimple, Model
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.made import known_digest
from kaldi_quant.nnet3.chain.den_graph import read_denominator_graph
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.training.averaged_jobs import AveragedJobs, ParallelJobs
from kaldi_quant.nnet3.training.chain_source import ChainSource, SourceOptions
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.training.objective import XENT, ChainLoss
from kaldi_quant.nnet3.training.parameters import trained_components, trained_nnet
from kaldi_quant.nnet3.utterances import UtteranceSet, digest_of_sets
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.loop import Loop, LoopOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.parameters import TrainedComponent


@dataclass(frozen=True)
class TrainingData:
    """What LF-MMI needs beside the model.

    Args:
        egs: the folder of examples.
        den_fst: the denominator.
        subsampling: the model's frame-subsampling factor.
    """

    egs: str
    den_fst: str
    subsampling: int


def finetune(
    model: Model,
    data: TrainingData,
    folder: Path,
    chain: ChainOptions,
    source: SourceOptions,
    loop: LoopOptions,
    stop_after: int | None = None,
    place: DeviceContext | None = None,
    jobs: ParallelJobs | None = None,
) -> Model | None:
    """Trains a model.

    Args:
        model: as read from its file; it is left as it is.
        data: the examples and the denominator.
        folder: of the checkpoint and the record. A run that was killed goes on.
        chain: the objective. Where ``xent_regularize`` is 0, or there is no output-xent, that branch is not trained.
        source: how examples are read.
        loop: how training goes.
        stop_after: ends after so many iterations, as if killed.
        place: where it is computed, and by which processes.
        jobs: how several archives are trained on at a time; by default one after the other.

    Returns:
        the trained model; None where it was stopped.

    Raises:
        UsageError, DataError, FormatError: the data are missing, broken or made for another model.
    """
    place = place or DeviceContext()
    network, components, minibatches = prepare(model, data, chain, source, place)
    check_held_out(loop, minibatches.egs)
    identity = {
        "model": model.digest(),
        "data": data_digest(minibatches.egs, data.den_fst),
        "chain": asdict(chain),
        "source": asdict(source),
        **place.identity,
    }
    iterations = None
    if jobs is not None:
        if place.group.size > 1:
            raise UsageError("--num-jobs cannot be combined with torchrun: use one of them")
        start = write_model(folder / "jobs" / "start.mdl", model)
        specification = {
            "model": str(start),
            "data": asdict(data),
            "chain": asdict(chain),
            "source": asdict(source),
            "device": place.device.type,
            "bf16": place.bf16,
        }
        iterations = AveragedJobs(minibatches, loop.optimizer, jobs, folder, specification)
        identity["num_jobs"] = jobs.number
    trained = Loop(network, components, minibatches, loop, folder, identity, None, place.group, iterations)
    try:
        if not trained.run(stop_after) and stop_after is not None:
            return None
    finally:
        if jobs is not None:
            shutil.rmtree(folder / "jobs", ignore_errors=True)
    return with_nnet(model, trained_nnet(network, model.nnet))


def prepare(
    model: Model, data: TrainingData, chain: ChainOptions, source: SourceOptions, place: DeviceContext
) -> tuple[AcousticModel, list[TrainedComponent], ChainSource]:
    """Makes ready what training needs; arguments as above.

    Returns:
        the network on its device, its components that are trained, and the minibatches.
    """
    egs = EgsFolder.find(data.egs)
    xent = _xent_branch(model.nnet, egs) if chain.xent_regularize else []
    network = AcousticModel(model.nnet, "output", xent).to(place.device)
    loss = ChainLoss(read_denominator_graph(data.den_fst, network.output_dim), chain, place=place)
    minibatches = ChainSource(egs, loss, source, network, data.subsampling)
    return network, trained_components(network, model.nnet), minibatches


def _xent_branch(nnet: Nnet, egs: EgsFolder) -> list[str]:
    """The output of the cross-entropy branch, where there is one.

    Chain2's recipes train a branch for each language, and leave an output-xent untrained beside it.
    """
    names = (*(f"output-{language}{XENT}" for language in egs.info.languages), f"output{XENT}")
    return [name for name in names if name in nnet.nodes][:1]


def distil(
    model: Model,
    teacher: Model,
    utterances: UtteranceSet,
    folder: Path,
    source: FeatureOptions,
    loop: LoopOptions,
    held_out: UtteranceSet | None = None,
    stop_after: int | None = None,
) -> Model | None:
    """Trains a model to give the distributions over pdfs that another one gives, on features without labels.

    Args:
        model: as read from its file; it is left as it is.
        teacher: with the same features and pdfs.
        utterances: with their i-vectors, where the networks need them.
        folder: of the checkpoint and the record. A run that was killed goes on.
        source: how features are cut.
        loop: how training goes.
        held_out: utterances that are validated on.
        stop_after: ends after so many iterations, as if killed.

    Returns:
        the trained model; None where it was stopped.

    Raises:
        UsageError: the teacher has other pdfs or other features.
        DataError: the features do not fit, or no minibatch has a finite loss.
    """
    network, taught = AcousticModel(model.nnet), AcousticModel(teacher.nnet)
    dims = [(found.input_dim, found.output_dim) for found in (network, taught)]
    if dims[0] != dims[1]:
        raise UsageError(
            f"{model.path} has {dims[0][1]} outputs for features of dimension {dims[0][0]}, and its teacher "
            f"{teacher.path} {dims[1][1]} for {dims[1][0]}: they must be the same"
        )
    components = trained_components(network, model.nnet)
    minibatches = FeatureSource.of(utterances, Distillation(taught), source, held_out)
    identity = {
        "model": model.digest(),
        "teacher": teacher.digest(),
        "data": digest_of_sets(utterances, held_out),
        "source": asdict(source),
    }
    trained = Loop(network, components, minibatches, loop, folder, identity)
    if not trained.run(stop_after) and stop_after is not None:
        return None
    return with_nnet(model, trained_nnet(network, model.nnet))


def find_denominator(model: str, egs: str) -> str:
    """The path of the denominator: beside the model, or else where chain2's examples have it."""
    beside = Path(model).parent / "den.fst"
    if beside.exists():
        return str(beside)
    places = [Path(egs, "misc", f"{language}.den.fst") for language in EgsInfo.read(Path(egs)).languages]
    return str(next((path for path in places if path.exists()), beside))


def check_held_out(loop: LoopOptions, egs: EgsFolder) -> None:
    """Refuses to look at held-out examples that a folder does not have.

    Raises:
        UsageError: it has none, and an option needs them.
    """
    loop.check_held_out(egs.validation is not None, f"{egs.archives[0].parent} has no {egs.validation_name}")


def data_digest(egs: EgsFolder, den_fst: str) -> str:
    """What tells examples and denominators from others: their content."""
    found = hashlib.sha256()
    for path in (Path(den_fst), *egs.files()):
        found.update(f"{path.name} {known_digest(path)}\n".encode())
    return found.hexdigest()


def with_nnet(model: Model, nnet: Nnet) -> Model:
    """A model with another network."""
    network: Any = replace(model.network, nnet=nnet) if isinstance(model.network, AmNnetSimple) else nnet
    return replace(model, network=network)


def write_model(path: Path, model: Model) -> Path:
    """Writes a model in Kaldi's binary form.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    with atomic_write(path) as stream:
        stream.write(model.getvalue(binary=True))
    return path
