"""FQSS's training keys as this project trains."""

from __future__ import annotations

from kaldi_quant.frontends.separation.fqss.data import augmentations_of
from kaldi_quant.frontends.separation.fqss.settings import FqssSettings, TrainingCfg
from kaldi_quant.frontends.separation.fqss.systems import Chosen
from kaldi_quant.frontends.separation.training.config import TrainingConfig, check_training
from kaldi_quant.frontends.training.config import OptimizerConfig, ScheduleConfig, ValidationConfig

# Epochs without a gain until training ends.
_EARLY_STOP = 30
_HALF = 0.5
# Of the first learning rate: FQSS halves it without a limit.
_LEAST_RATE = 1e-4


def config_of(settings: FqssSettings, chosen: Chosen) -> TrainingConfig:
    """How a network is trained.

    Args:
        settings: of a file.
        chosen: the network that they mean.

    Raises:
        UsageError: a value is impossible.
    """
    data, training, rate = settings.dataset_cfg, settings.training_cfg, chosen.kind.rate
    found = TrainingConfig(
        network=chosen.name,
        sizes=chosen.sizes,
        loss="l1" if chosen.kind.is_ordered else "pit-si-sdr",
        epochs=training.epochs,
        batch_size=training.batch_size,
        seconds=data.segment_samples / rate if data.segment_samples else data.segment,
        seed=training.seed,
        workers=training.num_workers,
        augmentations=augmentations_of(data, chosen),
        optimizer=_optimizer(training),
        schedule=_schedule(training),
        # The best epoch is taken, and by default none ends training.
        validation=ValidationConfig(training.validate, 1, _EARLY_STOP if training.early_stop else training.epochs),
    )
    check_training(found, "training_cfg")
    return found


def _optimizer(training: TrainingCfg) -> OptimizerConfig:
    optim = training.optim
    is_apart = optim.optimizer == "adamw"
    return OptimizerConfig(
        "sgd" if optim.optimizer == "sgd" else "adam",
        weight_decay=optim.weight_decay if is_apart else 0.0,
        l2_penalty=0.0 if is_apart else optim.weight_decay,
        clip_norm=optim.clip_grad,
    )


def _schedule(training: TrainingCfg) -> ScheduleConfig:
    # Steps of sgd are sums over a minibatch here, and means there.
    rate = training.optim.lr / (training.batch_size if training.optim.optimizer == "sgd" else 1)
    if training.half_lr:
        # torch counts the epochs that are borne, and here those until it is halved are counted.
        borne = {"patience": training.patience + 1, "hold": training.hold}
        return ScheduleConfig("plateau", rate, rate * _LEAST_RATE, factor=_HALF, **borne)
    if training.step_lr.step_size:
        return ScheduleConfig("step", rate, every=training.step_lr.step_size, factor=training.step_lr.gamma)
    return ScheduleConfig("constant", rate)
