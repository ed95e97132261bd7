"""The sections of ``user_config.yaml``, with every key that they may have.

A key without a value, or that is not there, has the default; those that are ``required`` must have a value in each
operation mode that uses their section.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaldi_quant.frontends.enhancement.zoo.reading import required
from kaldi_quant.units import Hertz

#: A number of clips, or a share of them.
Amount = int | float


@dataclass(frozen=True)
class General:
    """The project.

    Args:
        project_name: of the experiment, for MLflow.
        logs_dir: is accepted; logs lie in the folder of the run, as documented.
        saved_models_dir: the folder of ONNX files, in the folder of the run.
        gpu_memory_limit: the share of a GPU's memory that may be used, above 0, below 1; None for no limit.
        display_figures: whether figures are shown, too; they are always written.
    """

    project_name: str = "speech_enhancement"
    logs_dir: str = "logs"
    saved_models_dir: str = "saved_models"
    gpu_memory_limit: float | None = None
    display_figures: bool = False


@dataclass(frozen=True)
class Model:
    """The network that the run begins with.

    Args:
        model_type: the network that is trained, or that ``state_dict_path`` belongs to: STFTTCNN.
        state_dict_path: parameters that training begins with, or that are evaluated where there is no ``onnx_path``.
        onnx_path: the network that is evaluated, quantized, benchmarked or deployed.
    """

    model_type: str | None = None
    state_dict_path: str | None = None
    onnx_path: str | None = None


@dataclass(frozen=True)
class ModelSpecific:
    """The sizes of STFT-TCNN.

    Args:
        n_blocks: how often dilations begin anew.
        num_layers: residual layers of each.
        in_channels: bins of a spectrum, ``n_fft // 2 + 1``; None for that.
        tcn_latent_dim: channels within layers.
        kernel_size: over time, odd.
        init_dilation: the dilation of layer i is this to the power of i.
        mask_activation: sigmoid or tanh.
        layer_activation: relu.
    """

    n_blocks: int = 2
    num_layers: int = 3
    in_channels: int | None = None
    tcn_latent_dim: int = 512
    kernel_size: int = 3
    init_dilation: int = 2
    mask_activation: str = "sigmoid"
    layer_activation: str = "relu"


@dataclass(frozen=True)
class Dataset:
    """Pairs of noisy and clean speech.

    Args:
        name: valentini, custom (four folders), or another layout of ``read_enhancement``.
        root_folder: of all but custom.
        n_speakers: 28 or 56, of valentini.
        file_extension: of files.
        num_training_samples: how many clips, or which share of them; None for all.
        num_validation_samples: likewise, taken from the training data; where the layout has its own, of those.
        num_test_samples: likewise.
        shuffle: whether each epoch has another order.
        random_seed: of what is drawn.
        clean_train_files_path: folder of custom; so are the others.
        clean_test_files_path: see above.
        noisy_train_files_path: see above.
        noisy_test_files_path: see above.
    """

    name: str = required("valentini")
    root_folder: str | None = None
    n_speakers: int = 56
    file_extension: str = ".wav"
    num_training_samples: Amount | None = None
    num_validation_samples: Amount = 100
    num_test_samples: Amount | None = None
    shuffle: bool = True
    random_seed: int = 42
    clean_train_files_path: str | None = None
    clean_test_files_path: str | None = None
    noisy_train_files_path: str | None = None
    noisy_test_files_path: str | None = None


@dataclass(frozen=True)
class Preprocessing:
    """From waves to what networks see.

    Args:
        pipeline_type: LibrosaSpecPipeline.
        peak_normalize: whether clips are divided by their greatest absolute value; silence stays silent.
        sample_rate: that networks hear; files of another rate are resampled.
        n_fft: points of the transform.
        hop_length: samples from one frame to the next.
        win_length: samples of a frame.
        window: its shape, a name that scipy knows.
        center: whether frame t is centred at sample t · hop: true.
        power: of magnitudes.
    """

    pipeline_type: str = "LibrosaSpecPipeline"
    peak_normalize: bool = False
    sample_rate: Hertz = 16000
    n_fft: int = 512
    hop_length: int = 160
    win_length: int = 400
    window: str = "hann"
    center: bool = True
    power: float = 1.0


@dataclass(frozen=True)
class Regularization:
    """What keeps weights and activations small, so that 8 bits are enough for them.

    Args:
        weight_clipping_max: weights are kept between minus this and this; None for no limits.
        activation_regularization: the factor of the penalty on outputs of layers; None for none.
        act_reg_layer_types: the layers, by the names of their classes; empty for all.
        act_reg_threshold: outputs below it cost nothing; None: all cost.
        penalty_type: l1 or l2.
    """

    weight_clipping_max: float | None = None
    activation_regularization: float | None = None
    act_reg_layer_types: tuple[str, ...] = ("Conv1d", "DepthwiseSeparableConv")
    act_reg_threshold: float | None = None
    penalty_type: str = "l2"


@dataclass(frozen=True)
class Training:
    """Training in float.

    Args:
        device: cpu, cuda, cuda:1.
        epochs: passes over the training data.
        optimizer: of ``torch.optim``.
        optimizer_arguments: of it; ``lr`` is required.
        loss: spec_mse, wave_mse, wave_snr or wave_sisnr.
        batching_strategy: clips of a minibatch are filled up to the longest (pad) or cut to the shortest (trim).
        num_dataloader_workers: is accepted; clips are read by the process that trains.
        batch_size: clips of a minibatch.
        reference_metric: that chooses the best network, on validation data: pesq, stoi, snr, si-snr, wave_mse; or
            train_loss.
        early_stopping: whether training ends where the metric gets no better.
        early_stopping_patience: for so many epochs.
        regularization: what keeps values small.
        save_every: a checkpoint is left every so many epochs.
        snapshot_path: of an interrupted training, from which it goes on.
        ckpt_path: the folder of checkpoints, in the folder of the run.
        logs_filename: the table of epochs, in training_logs.
        opset_version: of the ONNX files.
    """

    device: str = "cpu"
    epochs: int = required(100)
    optimizer: str = "Adam"
    optimizer_arguments: Mapping[str, Any] = field(default_factory=lambda: {"lr": 1e-3})
    loss: str = "spec_mse"
    batching_strategy: str = "pad"
    num_dataloader_workers: int = 0
    batch_size: int = 16
    reference_metric: str = "pesq"
    early_stopping: bool = True
    early_stopping_patience: int = 50
    regularization: Regularization | None = None
    save_every: int = 2
    snapshot_path: str | None = None
    ckpt_path: str = "ckpts/"
    logs_filename: str = "training_logs.csv"
    opset_version: int = 17


@dataclass(frozen=True)
class Quantization:
    """Quantization after training: by onnxruntime, and by this project.

    Args:
        num_quantization_samples: clips to calibrate on, or which share; None for all.
        random_seed: they are drawn by.
        noisy_quantization_files_path: folder of noisy clips, in the place of the training data.
        static_sequence_length: frames of the static file.
        static_axis_name: of the input's last axis.
        per_channel: onnxruntime: weights have a scale for each output channel.
        calibration_method: onnxruntime: MinMax, Entropy, Percentile or Distribution.
        op_types_to_quantize: onnxruntime: operators; empty for all that it knows.
        reduce_range: onnxruntime: weights have 7 bits.
        extra_options: onnxruntime: see its ``quantize_static``.
        preset: this project: how weights and activations are quantized.
    """

    num_quantization_samples: Amount | None = None
    random_seed: int = 42
    noisy_quantization_files_path: str | None = None
    static_sequence_length: int = required(40)
    static_axis_name: str = required("seq_len")
    per_channel: bool = required(True)
    calibration_method: str = required("MinMax")
    op_types_to_quantize: tuple[str, ...] = ()
    reduce_range: bool = required(False)
    extra_options: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "w8a8"


@dataclass(frozen=True)
class Evaluation:
    """Scores of the test data.

    Args:
        logs_path: folder of scores, in the folder of the run.
        device: of networks that are evaluated in torch.
        fixed_sequence_length: frames of a static file; None for a dynamic one.
    """

    logs_path: str = "eval_logs/"
    device: str = "cpu"
    fixed_sequence_length: int | None = None


@dataclass(frozen=True)
class Mlflow:
    """Runs in MLflow.

    Args:
        uri: where it keeps them; None: it is not asked for.
    """

    uri: str | None = None


@dataclass(frozen=True)
class HydraRun:
    """A run.

    Args:
        dir: its folder; None for ``./experiment_outputs/<date>``.
    """

    dir: str | None = None


@dataclass(frozen=True)
class Hydra:
    """What Hydra is told.

    Args:
        run: the folder of the run.
    """

    run: HydraRun = field(default_factory=HydraRun)
