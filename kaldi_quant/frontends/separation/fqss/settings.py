"""Settings by FQSS's keys: the five sections that its YAML files have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kaldi_quant.units import Bits, Hertz, Seconds

#: In the place of names of augmentations: what the environment has.
DEFAULT = "default"


@dataclass(frozen=True)
class QuantizationCfg:
    """``model_cfg, quantization``.

    Args:
        qat: whether the network is quantized; in float otherwise, whatever the other keys are.
        gradient_based: whether scales are learned; else they follow weights and minibatches.
        weight_quant: whether weights are quantized.
        weight_n_bits: of weights.
        act_quant: whether activations are quantized.
        act_n_bits: of activations.
        in_quant: whether the network's input lies on a grid of its own; with a splitter it does so already.
        in_act_n_bits: of the input, and of each of its parts.
        out_quant: whether the network's output lies on a grid.
        out_act_n_bits: of the output, and of each of its parts.
        n_splitter: parts of the input.
        n_combiner: parts of the output.
        observer: True to begin with the float network; False to go on with the training in ``work_dir``.
        inout_nl_quant: whether input and output lie on grids of a mu-law.
    """

    qat: bool = False
    gradient_based: bool = True
    weight_quant: bool = True
    weight_n_bits: Bits = 8
    act_quant: bool = True
    act_n_bits: Bits = 8
    in_quant: bool = False
    in_act_n_bits: Bits = 8
    out_quant: bool = False
    out_act_n_bits: Bits = 8
    n_splitter: int = 1
    n_combiner: int = 1
    observer: bool = True
    inout_nl_quant: bool = False


@dataclass(frozen=True)
class ModelCfg:
    """``model_cfg``.

    Args:
        name: of ``SYSTEMS``.
        model_path: the network that val.py and infer.py read, such as best_model.pth of a training.
        n_src: how many sources there are; 0 for as many as the system has.
        kernel_size: of the encoder; 0 for the system's own.
        stride: of the encoder; 0 for the system's own.
        sources: their names, of music; empty for the system's own.
        sizes: of the network, where they are not its own: arguments of what builds it.
        quantization: see there.
    """

    name: str = ""
    model_path: str = ""
    n_src: int = 0
    kernel_size: int = 0
    stride: int = 0
    sources: tuple[str, ...] = ("",)
    sizes: dict[str, Any] = field(default_factory=dict)
    quantization: QuantizationCfg = field(default_factory=QuantizationCfg)


@dataclass(frozen=True)
class AugmentationCfg:
    """``dataset_cfg, augmentation``: sources are mixed anew.

    Args:
        enable: whether they are.
        distribution: of their ratios in dB; uniform.
        param0: the least ratio.
        param1: the greatest ratio.
        prob: the share of pieces that are mixed anew.
    """

    enable: bool = False
    distribution: str = "uniform"
    param0: float = -10.0
    param1: float = 10.0
    prob: float = 1.0


@dataclass(frozen=True)
class DatasetCfg:
    """``dataset_cfg``.

    Args:
        name: librimix or musdbhq; or another layout of data, or auto for the one that folders look like.
        task: of LibriMix; mus_sep for music.
        train_dir: the folder of training data; for music, for MUSDB as a whole, and development data are there, too.
        valid_dir: the folder of development data; by default that of training.
        data_folder: the folder of LibriMix as a whole, in the place of both.
        skip_prep: is taken and not used: no tables of data are written.
        sample_rate: of the files, in Hz; 0 for any, which are then resampled.
        resample: the network's rate is this times ``sample_rate``.
        n_src: how many sources there are; 0 for as many as the network separates.
        noisy: whether tests have noise in mixtures.
        segment: the length of pieces of training.
        segment_samples: the same in samples; 0 for what ``segment`` says.
        data_stride: for music: how far pieces are moved at random, in samples; 0 for the default.
        metadata: is taken and not used: lengths and levels of music are read from the files.
        augmentation: see there.
        augment: what else changes pieces: names of ``AUGMENTATIONS`` and their options; by default what the
            environment has.
        train: mixtures of a pass; 0 for as many as there are.
        valid: mixtures of development data; 0 for as many as are usual.
        test: mixtures of the test; 0 for as many as are usual.
    """

    name: str = "auto"
    task: str = "sep_clean"
    train_dir: str = ""
    valid_dir: str = ""
    data_folder: str = ""
    skip_prep: bool = False
    sample_rate: Hertz = 0
    resample: float = 1.0
    n_src: int = 0
    noisy: bool = False
    segment: Seconds = 3.0
    segment_samples: int = 0
    data_stride: int = 0
    metadata: str = ""
    augmentation: AugmentationCfg = field(default_factory=AugmentationCfg)
    augment: dict[str, Any] = field(default_factory=lambda: {DEFAULT: {}})
    train: int = 0
    valid: int = 0
    test: int = 0


@dataclass(frozen=True)
class StepLr:
    """``training_cfg, step_lr``.

    Args:
        step_size: the learning rate changes after so many epochs; 0 for never.
        gamma: it is multiplied by this.
    """

    step_size: int = 0
    gamma: float = 0.98


@dataclass(frozen=True)
class OptimCfg:
    """``training_cfg, optim``.

    Args:
        optimizer: adam, adamw or sgd.
        lr: the learning rate.
        weight_decay: of adam and sgd a part of the gradient, of adamw apart from it.
        clip_grad: the largest norm of the gradient; 0 for no limit.
    """

    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    clip_grad: float = 5.0


@dataclass(frozen=True)
class TrainingCfg:
    """``training_cfg``.

    Args:
        epochs: passes over the training data.
        batch_size: pieces in a minibatch, of all processes together.
        num_workers: threads that make minibatches ahead; 0 for none.
        half_lr: whether the learning rate is halved when development data gain nothing for more than ``patience``
            epochs.
        patience: see there.
        hold: before so many epochs it is not halved.
        step_lr: see there; has an effect without half_lr.
        early_stop: whether training ends after 30 epochs in which development data gained nothing.
        pretrained: the float network that training begins with, and that teaches.
        wandb: must be False: what is recorded is in ``work_dir``.
        seed: of initial weights, order and pieces.
        kd_lambda: the share of the float network in the loss; 0 for none.
        gpus: is taken and not used: torchrun says by how many processes.
        auto_mix_prec: whether products are computed in bfloat16, on a GPU.
        threshold: losses below it, in dB, teach nothing; has an effect with ``threshold_byloss``.
        threshold_byloss: see there.
        loss_upper_lim: minibatches with a larger loss are left out.
        validate: what chooses the best epoch: ``loss``, or a score of the system.
        optim: see there.
    """

    epochs: int = 50
    batch_size: int = 2
    num_workers: int = 0
    half_lr: bool = False
    patience: int = 5
    hold: int = 0
    step_lr: StepLr = field(default_factory=StepLr)
    early_stop: bool = False
    pretrained: str = ""
    wandb: bool = False
    seed: int = 0
    kd_lambda: float = 0.0
    gpus: int = 0
    auto_mix_prec: bool = False
    threshold: float = -30.0
    threshold_byloss: bool = False
    loss_upper_lim: float = 999999.0
    validate: str = "loss"
    optim: OptimCfg = field(default_factory=OptimCfg)


@dataclass(frozen=True)
class TestingCfg:
    """``testing_cfg``.

    Args:
        test_dir: the folder of test data.
        overlap: of pieces of long recordings, a share of a piece.
        segment_samples: of such a piece; 0 for recordings as a whole.
        NSDR: whether music is scored by the ratio of all samples of a track; else by the median over its seconds.
    """

    test_dir: str = ""
    overlap: float = 0.25
    segment_samples: int = 0
    NSDR: bool = False


@dataclass(frozen=True)
class FqssSettings:
    """A file of settings.

    Args:
        work_dir: for all results.
        model_cfg: see there, as are the following.
        dataset_cfg: the data.
        training_cfg: how the network is trained.
        testing_cfg: how it is tested.
    """

    work_dir: str = ""
    model_cfg: ModelCfg = field(default_factory=ModelCfg)
    dataset_cfg: DatasetCfg = field(default_factory=DatasetCfg)
    training_cfg: TrainingCfg = field(default_factory=TrainingCfg)
    testing_cfg: TestingCfg = field(default_factory=TestingCfg)
