"""Quantization-aware training of either kind of network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.api.folders import folder_or_none
from kaldi_quant.api.networks import KaldiNetwork, TorchNetwork
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import UsageError
from kaldi_quant.nnet3.model import acoustic_model
from kaldi_quant.nnet3.training.feature_source import FeatureOptions, FeatureSource
from kaldi_quant.nnet3.utterances import digest_of_sets
from kaldi_quant.quant.distance import Distance, KullbackLeibler
from kaldi_quant.torchnn.batches import Batches, HeldOutScore, LossFunction, Passes
from kaldi_quant.train.distillation import Distillation
from kaldi_quant.train.hidden_features import ErrorAndAngle, FeatureLoss, HiddenOptions, HiddenTeacher
from kaldi_quant.train.loop import LoopOptions
from kaldi_quant.train.optimizer import OptimizerOptions
from kaldi_quant.train.parallel.device_context import DeviceContext
from kaldi_quant.train.qat.float_offsets import snapping
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import DEFAULT_OFFSETS, QatOptions
from kaldi_quant.train.qat.trained_weight import DEFAULT_WEIGHTS
from kaldi_quant.train.qat.training import train_quantized
from kaldi_quant.train.record import IterationRecord
from kaldi_quant.train.schedules import Exponential, Schedule
from kaldi_quant.train.steps import Source


def qat(
    quantized: Quantized,
    data: Any,
    *,
    loss: LossFunction | None = None,
    epochs: int = 10,
    minibatch_size: int = 64,
    held_out: Any = (),
    lr_initial: float = 1e-4,
    lr_final: float = 1e-5,
    optimizer: OptimizerOptions | None = None,
    schedule: Schedule | None = None,
    early_stopping: int = 0,
    method: str = "lsq",
    weights: str = DEFAULT_WEIGHTS,
    offsets: str = DEFAULT_OFFSETS,
    features: Sequence[str] = (),
    feature_share: float = 0.5,
    feature_loss: FeatureLoss | None = None,
    watched: Mapping[str, LossFunction] | None = None,
    score: HeldOutScore | None = None,
    after_pass: Callable[[IterationRecord, Callable[[], Quantized]], None] | None = None,
    place: DeviceContext | None = None,
    folder: str | Path | None = None,
) -> Quantized:
    """Trains a quantized network from where quantization after training left it.

    Args:
        quantized: from ``quantize``.
        data: of a network of ``torch.nn``, minibatches: (inputs, target) pairs, or inputs alone without ``loss``; then
            the float network teaches; or ``Passes`` of ``torchnn.batches``. Of a Kaldi model, features as its ``data``
            takes them; the float model teaches.
        loss: for (inputs, target) pairs: the mean loss of a minibatch from output and target.
        epochs: passes over the data.
        minibatch_size: of pieces of features; minibatches of ``torch.nn`` have their size.
        held_out: like ``data``, for validation and for averages of models.
        lr_initial: the learning rate of the first pass.
        lr_final: that of the last; between them it falls exponentially.
        optimizer: by default Adam.
        schedule: another one of ``train.schedules``, in the place of the two learning rates.
        early_stopping: training ends after so many passes without a better held-out loss, and the best one is taken; 0
            for never.
        method: what becomes of scales: ``lsq``: they are learned, and so are the zero points of activations; ``fixed``:
            they stay; ``recomputed``: those of weights are found at every step, from the least to the greatest weight,
            and those of activations for every minibatch; in the end they are the averages of those.
        weights: what is learned of weights: ``steps``, their places between the integers of their grids; or ``values``,
            the weights in float. Of a Kaldi model a step then changes all parameters by a norm of 2 at most, as in
            Kaldi (``max-param-change``). Scales can be recomputed from ``values`` alone.
        offsets: what is learned of the zero points of activations with ``lsq``: ``integers``, or ``floats``, offsets in
            the unit of the values (LSQ+), which become integer zero points at the end. How far that moves the output is
            logged, and stands in the record of the result, under ``snapping``: on calibration data.
        features: of a network of ``torch.nn``: hidden nodes that learn from the float network's, whatever the output
            learns from: names, as ``quantized.network.host.nodes`` has them (a layer's is that of its module), or
            patterns of names (shell wildcards).
        feature_share: of the loss that features have, above 0, up to 1; the rest is the output's.
        feature_loss: of a node's values in training and in float; by default ``ErrorAndAngle`` of
            ``train.hidden_features``, half the squared error and half one minus the cosine.
        watched: of a network of ``torch.nn``: what else the record tells of held-out minibatches, by name, each from
            output and target as ``loss``.
        score: of a network of ``torch.nn``: decides which network is the best, in the place of the held-out loss.
        after_pass: is told each pass when it has ended, and what gives the network in integers as it is then.
        place: of a network of ``torch.nn``: where it is trained, as of ``finetune``.
        folder: of the checkpoint and the record: an interrupted run goes on there; by default nowhere.

    Raises:
        UsageError: there is no such kind of weights, or the data do not fit the network.
        DataError: no minibatch has a finite loss.
    """
    calibration = quantized.calibrated("qat")
    scales = QatOptions(method, weights=weights, offsets=offsets)
    network = TrainableNetwork.of(quantized.network, scales)
    hidden = HiddenOptions(features, feature_share, feature_loss or ErrorAndAngle())
    source: Source
    if isinstance(quantized.origin, KaldiNetwork):
        if loss is not None:
            raise UsageError("a loss is for networks of torch.nn: Kaldi models learn from their float selves here")
        if features:
            raise UsageError("features are for networks of torch.nn: of a Kaldi model, kaldi-quant qat compares them")
        if watched:
            raise UsageError("watched is for networks of torch.nn: the record of a Kaldi model has its divergence")
        if score is not None:
            raise UsageError("score is for networks of torch.nn: Kaldi models are compared by their divergence")
        if place is not None:
            raise UsageError("place is for networks of torch.nn: Kaldi models are trained so by kaldi-quant qat")
        options = FeatureOptions(epochs, minibatch_size)
        source, digest = _features(quantized, quantized.origin, data, held_out, options)
    elif isinstance(quantized.origin, TorchNetwork):
        source, digest = _batches(quantized, quantized.origin, data, held_out, loss, epochs, watched, score, place)
        if features:
            host = quantized.network.host
            source.hidden = HiddenTeacher(network.model, source.teacher or host.executable(), host.nodes, hidden)
        for teacher in (source.teacher, None if source.hidden is None else source.hidden.teacher):
            if teacher is not None:
                teacher.to(source.place.device)
        # Kaldi's limit is one for Kaldi's networks.
        optimizer = optimizer or OptimizerOptions(max_param_change=0.0)
    else:
        raise UsageError(f"a {type(quantized.origin).__name__} cannot be trained")
    loop = loop_options(optimizer, schedule, lr_initial, lr_final, early_stopping)
    identity = {"data": digest, "epochs": epochs, "minibatch_size": minibatch_size}
    if features:
        identity["features"] = hidden.as_dict()

    def after(entry: IterationRecord) -> None:
        if after_pass is not None:
            after_pass(entry, lambda: replace(quantized, network=network.converted()))

    host = quantized.network.host
    with folder_or_none(folder) as there:
        trained = train_quantized(network, host, source, scales, loop, there, identity, place=place, after=after)
    assert trained is not None
    network.to(torch.device("cpu"))
    notes = dict(quantized.notes)
    if network.float_offsets:
        in_float = quantized.network.host.executable()
        moved = snapping(network.model, network.float_offsets, trained, in_float, calibration.some())
        notes["snapping"] = moved.as_dict()
    return replace(quantized, network=trained, notes=notes)


def loop_options(
    optimizer: OptimizerOptions | None,
    schedule: Schedule | None,
    lr_initial: float,
    lr_final: float,
    early_stopping: int,
) -> LoopOptions:
    """How the loop goes; arguments as of ``qat``."""
    rates = Exponential(lr_initial, lr_final) if schedule is None else schedule
    return LoopOptions(optimizer or OptimizerOptions(), schedule=rates, early_stopping=early_stopping)


def _features(
    quantized: Quantized, origin: KaldiNetwork, data: Any, held_out: Any, options: FeatureOptions
) -> tuple[FeatureSource, str]:
    teacher = acoustic_model(quantized.network.host.executable())
    utterances, validated = (origin.data(part) for part in (data, held_out))
    source = FeatureSource.of(utterances, Distillation(teacher), options, validated)
    return source, digest_of_sets(utterances, validated)


def _batches(
    quantized: Quantized,
    origin: TorchNetwork,
    data: Iterable[Any] | Passes,
    held_out: Iterable[Any],
    loss: LossFunction | None,
    epochs: int,
    watched: Mapping[str, LossFunction] | None,
    score: HeldOutScore | None,
    place: DeviceContext | None,
) -> tuple[Batches, str]:
    teacher = quantized.network.host.executable() if loss is None else None
    distance = quantized.network.host.distance
    wanted = loss or distilled(distance, origin.columns)
    source = Batches(data, wanted, epochs, held_out, teacher, origin.output, watched=watched, score=score, place=place)
    return source, source.digest()


def distilled(distance: Distance, columns: int) -> LossFunction:
    """The loss between a network's output and its teacher's.

    Args:
        distance: of outputs: the divergence of classes, or the squared error.
        columns: the axis of the output that holds classes.
    """
    if not isinstance(distance, KullbackLeibler):
        return functional.mse_loss

    def divergence(output: Tensor, target: Tensor) -> Tensor:
        """KL(target || output) of the distributions over classes, the mean over all else."""
        scores, wanted = (functional.log_softmax(x, dim=columns) for x in (output, target))
        return functional.kl_div(scores, wanted, reduction="none", log_target=True).sum(columns).mean()

    return divergence
