"""Float training of either kind of network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from kaldi_quant.api.folders import folder_or_none
from kaldi_quant.api.networks import KaldiNetwork, TorchNetwork, as_network
from kaldi_quant.api.training import distilled, loop_options
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.compatibility import check_examples
from kaldi_quant.kaldi.features.normalisation import CMVN_OPTS
from kaldi_quant.kaldi.features.settings import settings_of_folder
from kaldi_quant.kaldi.frame_subsampling import folder_of
from kaldi_quant.kaldi.model import Model
from kaldi_quant.kaldi.specifiers import is_rspecifier
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.training import finetune as nnet3
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.feature_source import FeatureOptions
from kaldi_quant.quant.distance import SquaredError
from kaldi_quant.torchnn.batches import Batches, HeldOutScore, LossFunction
from kaldi_quant.torchnn.float_training import FloatModule
from kaldi_quant.torchnn.penalties import Penalty
from kaldi_quant.train.loop import Loop, LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.schedules import Schedule

# Those of the recipes, and of 'kaldi-quant train'.
_CHAIN = ChainOptions(leaky_hmm_coefficient=0.1, xent_regularize=0.1)


def finetune(
    network: Any,
    data: Any,
    *,
    loss: LossFunction | None = None,
    teacher: Any = None,
    epochs: int = 10,
    minibatch_size: int = 64,
    held_out: Any = (),
    lr_initial: float = 1e-4,
    lr_final: float = 1e-5,
    optimizer: OptimizerOptions | None = None,
    schedule: Schedule | None = None,
    early_stopping: int = 0,
    train_mode: bool = False,
    watched: Mapping[str, LossFunction] | None = None,
    score: HeldOutScore | None = None,
    validate_every: int = 1,
    penalty: Penalty | None = None,
    after_pass: Callable[[IterationRecord, nn.Module], None] | None = None,
    chain: ChainOptions | None = None,
    den_fst: str | Path | None = None,
    place: DeviceContext | None = None,
    folder: str | Path | None = None,
) -> Any:
    """Trains a float network, which is left as it is.

    Args:
        network: a model from ``load``, a ``torch.nn.Module``, or one of these as ``KaldiNetwork`` or ``TorchNetwork``.
        data: for a Kaldi model the folder of its examples (egs), for LF-MMI; or with a ``teacher`` features as its
            ``data`` takes them: a table, or (frames, dim) float32 arrays. For a network of ``torch.nn`` minibatches,
            which are what it is called with: (inputs, target) pairs, or inputs alone with a ``teacher``; or ``Passes``
            of ``torchnn.batches``, where they are others on each pass.
        loss: of a network of ``torch.nn``: the mean loss of a minibatch, (), from output and target, or from output
            and the teacher's; by default the squared error, or the divergence of classes where that is the network's
            ``distance``.
        teacher: a float network of the same kind, with outputs of the same shape, whose outputs are learned.
        epochs: passes over the data; of examples over all archives, as ``--num-epochs`` of ``kaldi-quant train``.
        minibatch_size: of examples or pieces of features; minibatches of ``torch.nn`` have their size.
        held_out: like ``data``, for validation, early stopping and averages of models; folders of examples have theirs.
        lr_initial: the learning rate of the first iteration: a pass, or an archive of examples.
        lr_final: that of the last; between them it falls exponentially.
        optimizer: by default Adam; of Kaldi models with Kaldi's limit on each step.
        schedule: another one of ``train.schedules``, in the place of the two learning rates.
        early_stopping: training ends after so many iterations without a better held-out score, and the best one is
            taken; 0 for never.
        train_mode: whether dropout and batch normalizations of a network of ``torch.nn`` do what torch's training mode
            has them do, running statistics included; by default it is trained in test mode, as Kaldi models are.
        watched: of a network of ``torch.nn``: what else the record tells of held-out minibatches, by name, each from
            output and target as ``loss``.
        score: of a network of ``torch.nn``: decides which network is the best, in the place of the held-out loss.
        validate_every: held-out data are looked at after so many passes, and after the last.
        penalty: of a network of ``torch.nn``: of large values that its layers give, added to the loss.
        after_pass: of a network of ``torch.nn``: is told each pass when it has ended, and the network as it is then.
        chain: of LF-MMI; by default with the leaky-HMM coefficient and the cross-entropy branch of the recipes.
        den_fst: its denominator; by default as ``kaldi-quant train`` finds it.
        place: of a network of ``torch.nn``: where it is trained, from ``device_context``: on a GPU, in bfloat16, by the
            processes of ``torchrun``. Each of these takes every n-th row of a minibatch's tensors, so that the first
            axis of all of them is that of its examples, and the loss a mean over these. By default on the CPU.
        folder: of the checkpoint and the record: an interrupted run goes on there; by default nowhere.

    Returns:
        The trained network, of the kind that was given: a ``Model`` or a new ``torch.nn.Module``, or these within
        ``KaldiNetwork`` or ``TorchNetwork``.

    Raises:
        UsageError: the data do not fit the network, or an option goes with another kind of network.
        DataError, FormatError: the data are missing or broken, or no minibatch has a finite loss.
        ModelError: nothing in the network can be trained.

    Source: of LF-MMI, D. Povey et al., "Purely sequence-trained neural networks for ASR based on lattice-free MMI",
        Interspeech 2016; of distillation, G. Hinton et al., "Distilling the knowledge in a neural network", 2015.

    Example:
        >>> tuned = finetune(network, [(inputs, target)], loss=torch.nn.functional.cross_entropy)
        >>> tuned = finetune(load("final.mdl"), "exp/chain/egs", folder="exp/tuned")
    """
    loop = replace(
        loop_options(optimizer, schedule, lr_initial, lr_final, early_stopping),
        freeze_after=1.0,
        validate_every=validate_every,
    )
    found = as_network(network)
    with folder_or_none(folder) as there:
        if isinstance(found, TorchNetwork):
            if den_fst is not None or chain is not None:
                raise UsageError("chain and den_fst are for Kaldi models: networks of torch.nn have a loss")
            if optimizer is None:
                # Kaldi's limit is one for Kaldi's networks.
                loop = replace(loop, optimizer=OptimizerOptions(max_param_change=0.0))
            held = _HeldOut(held_out, watched, score)
            module = _torch(
                found, data, loss, teacher, epochs, held, train_mode, penalty, after_pass, loop, there, place
            )
            return module if isinstance(network, nn.Module) else replace(found, module=module)
        assert isinstance(found, KaldiNetwork)
        if loss is not None or train_mode:
            raise UsageError("loss and train_mode are for networks of torch.nn: Kaldi models learn from examples")
        if score is not None or penalty is not None or after_pass is not None:
            raise UsageError("score, penalty and after_pass are for networks of torch.nn")
        if place is not None:
            raise UsageError("place is for networks of torch.nn: Kaldi models are trained so by kaldi-quant train")
        if watched:
            raise UsageError("watched is for networks of torch.nn: the record of a Kaldi model has its objective")
        if teacher is None:
            if not isinstance(held_out, tuple) or held_out:
                raise UsageError("held_out goes with a teacher: a folder of examples has held-out ones of its own")
            source = SourceOptions(epochs, str(minibatch_size))
            model = _lf_mmi(found, data, den_fst, chain or _CHAIN, source, loop, there)
        else:
            model = _distilled(found, data, teacher, held_out, FeatureOptions(epochs, minibatch_size), loop, there)
        return model if isinstance(network, Model) else replace(found, model=model)


@dataclass(frozen=True)
class _HeldOut:
    """What is looked at between passes."""

    batches: Any
    watched: Mapping[str, LossFunction] | None
    score: HeldOutScore | None


def _torch(
    network: TorchNetwork,
    data: Any,
    loss: LossFunction | None,
    teacher: Any,
    epochs: int,
    held_out: _HeldOut,
    train_mode: bool,
    penalty: Penalty | None,
    after_pass: Callable[[IterationRecord, nn.Module], None] | None,
    loop: LoopOptions,
    folder: Path,
    place: DeviceContext | None,
) -> nn.Module:
    if loss is None and teacher is None:
        raise UsageError("a network of torch.nn is trained by a loss on targets, or by a teacher: give one of them")
    model, taught = FloatModule(network.module, train_mode), None
    if teacher is not None:
        given = as_network(teacher)
        if not isinstance(given, TorchNetwork):
            raise UsageError("the teacher of a network of torch.nn must be one, too")
        taught = FloatModule(given.module)
    own_loss = distilled(network.distance or SquaredError(), network.columns)
    source = Batches(
        data,
        loss or own_loss,
        epochs,
        held_out.batches,
        taught,
        network.output,
        watched=held_out.watched,
        score=held_out.score,
        penalty=penalty,
        place=place,
    )
    identity = {
        "network": model.digest(),
        "teacher": None if taught is None else taught.digest(),
        "data": source.digest(),
        "epochs": epochs,
        "train_mode": train_mode,
        **source.place.identity,
    }
    for moved in (model, taught):
        if moved is not None:
            moved.to(source.place.device)

    def after(entry: IterationRecord) -> None:
        if after_pass is not None:
            after_pass(entry, model.module)

    Loop(
        model,
        model.components(),
        source,
        loop,
        folder,
        identity,
        group=source.place.group,
        observers=model,
        after=after,
    ).run()
    return model.trained().cpu()


def _lf_mmi(
    network: KaldiNetwork,
    data: Any,
    den_fst: str | Path | None,
    chain: ChainOptions,
    source: SourceOptions,
    loop: LoopOptions,
    folder: Path,
) -> Model:
    model = network.model
    if not isinstance(data, str | Path) or is_rspecifier(str(data)):
        raise UsageError("without a teacher, a Kaldi model learns from examples: give the folder that holds them")
    egs = str(data)
    check_examples(Path(egs), model)
    wanted = network.settings or settings_of_folder(folder_of(model.path))
    if (Path(egs) / CMVN_OPTS).is_file() and not wanted.is_normalised_as(settings_of_folder(Path(egs))):
        raise UsageError(f"{model.path} and the examples in {egs} want features normalised in different ways")
    denominator = str(den_fst) if den_fst is not None else nnet3.find_denominator(model.path, egs)
    training = nnet3.TrainingData(egs, denominator, network.factor)
    trained = nnet3.finetune(model, training, folder, chain, source, loop)
    assert trained is not None
    return trained


def _distilled(
    network: KaldiNetwork,
    data: Any,
    teacher: Any,
    held_out: Any,
    source: FeatureOptions,
    loop: LoopOptions,
    folder: Path,
) -> Model:
    given = as_network(teacher)
    if not isinstance(given, KaldiNetwork):
        raise UsageError("the teacher of a Kaldi model must be one, too")
    utterances, validated = (network.data(part) for part in (data, held_out))
    trained = nnet3.distil(network.model, given.model, utterances, folder, source, loop, validated)
    assert trained is not None
    return trained
