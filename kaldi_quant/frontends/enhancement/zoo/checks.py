"""Refuses values of a configuration that are impossible, before any work."""

from __future__ import annotations

import math
from pathlib import Path

from kaldi_quant.backends.onnx.static_quantization import StaticOptions
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.data import LAYOUTS
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.measures import PESQ_RATE
from kaldi_quant.frontends.enhancement.zoo.modes import MODES
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.settings import above_0, at_least_0
from kaldi_quant.train.optimizer import OptimizerOptions

PIPELINES = ("LibrosaSpecPipeline",)
MODEL_TYPES = ("STFTTCNN",)
#: Of the configuration → the name of the loss.
LOSSES = {"spec_mse": "spec-mse", "wave_mse": "wave-mse", "wave_snr": "wave-snr", "wave_sisnr": "wave-si-snr"}
OPTIMIZERS = ("Adam", "AdamW")
BATCHING = ("pad", "trim")
#: Of the configuration → the name of the score; None for the training's own loss.
REFERENCE_METRICS = {
    "pesq": "pesq",
    "stoi": "stoi",
    "snr": "snr",
    "si-snr": "sisnr",
    "sisnr": "sisnr",
    "wave_mse": "mse",
    "train_loss": None,
}
OPTIMIZATIONS = ("balanced", "time", "ram")
PENALTIES = ("l1", "l2")
MASKS = ("sigmoid", "tanh")
SPEAKERS = (28, 56)
#: Of ``dataset.name``, beside the other layouts of ``read_enhancement``.
CUSTOM, VALENTINI = "custom", "valentini"
_TRAIN_FOLDERS = ("clean_train_files_path", "noisy_train_files_path")
_TEST_FOLDERS = ("clean_test_files_path", "noisy_test_files_path")


def check(config: ZooConfig, used: set[str]) -> None:
    """Refuses impossible values in the sections that a mode uses.

    Raises:
        UsageError: there is one; names section and key.
    """
    _check_general(config)
    steps = MODES[config.operation_mode]
    checks = {
        "preprocessing": _check_preprocessing,
        "training": _check_training,
        "quantization": _check_quantization,
        "evaluation": _check_evaluation,
        "tools": _check_tools,
        "deployment": _check_deployment,
    }
    for section, checked in checks.items():
        if section in used:
            checked(config)
    if "train" in steps:
        _check_network(config)
    elif not config.model.onnx_path and not (steps == ("evaluate",) and config.model.state_dict_path):
        raise UsageError(f"model.onnx_path has no value: the mode {config.operation_mode} begins with that network")
    elif not config.model.onnx_path:
        _check_network(config)
    if "dataset" in used:
        _check_dataset(config)


def _check_general(config: ZooConfig) -> None:
    limit = config.general.gpu_memory_limit
    if limit is not None and not 0 < limit < 1:
        raise UsageError(f"general.gpu_memory_limit must be above 0 and below 1, found {limit}")


def _check_network(config: ZooConfig) -> None:
    if config.model.model_type is None:
        raise UsageError(f"model.model_type has no value: allowed are {', '.join(MODEL_TYPES)}")
    if config.model.model_type == "Custom":
        raise UsageError("model.model_type Custom: networks of your own come as ONNX files, see model.onnx_path")
    one_of("model.model_type", config.model.model_type, MODEL_TYPES)
    shape = config.model_specific
    sizes = {"n_blocks": shape.n_blocks, "num_layers": shape.num_layers, "tcn_latent_dim": shape.tcn_latent_dim}
    above_0("model_specific", {**sizes, "init_dilation": shape.init_dilation, "kernel_size": shape.kernel_size})
    if shape.kernel_size % 2 != 1:
        raise UsageError(f"model_specific.kernel_size must be odd, found {shape.kernel_size}")
    if shape.in_channels not in (None, config.bins):
        raise UsageError(f"model_specific.in_channels must be n_fft // 2 + 1, {config.bins}, found {shape.in_channels}")
    one_of("model_specific.mask_activation", shape.mask_activation, MASKS)
    one_of("model_specific.layer_activation", shape.layer_activation, ("relu",))


def _check_preprocessing(config: ZooConfig) -> None:
    found = config.preprocessing
    one_of("preprocessing.pipeline_type", found.pipeline_type, PIPELINES)
    sizes = {name: getattr(found, name) for name in ("sample_rate", "n_fft", "hop_length", "win_length", "power")}
    above_0("preprocessing", sizes)
    if not found.hop_length <= found.win_length <= found.n_fft:
        raise UsageError(
            f"preprocessing: expected hop_length ({found.hop_length}) to be at most win_length ({found.win_length}), "
            f"and that at most n_fft ({found.n_fft})"
        )
    steps = MODES[config.operation_mode]
    if found.sample_rate != PESQ_RATE and ("train" in steps or "evaluate" in steps):
        raise UsageError(
            f"preprocessing.sample_rate must be {PESQ_RATE}, at which PESQ is defined, found {found.sample_rate}"
        )
    if not found.center:
        raise UsageError("preprocessing.center must be true: frames that are not centred have no inverse at the edges")


def _check_training(config: ZooConfig) -> None:
    found = config.training
    one_of("training.loss", found.loss, LOSSES)
    one_of("training.batching_strategy", found.batching_strategy, BATCHING)
    one_of("training.reference_metric", found.reference_metric, REFERENCE_METRICS)
    sizes = ("epochs", "batch_size", "save_every", "opset_version")
    above_0("training", {name: getattr(found, name) for name in sizes})
    if found.early_stopping:
        above_0("training", {"early_stopping_patience": found.early_stopping_patience})
    rate = found.optimizer_arguments.get("lr")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise UsageError(f"training.optimizer_arguments.lr must be a number above 0, found {rate!r}")
    optimizer_options(config)
    penalty = found.regularization
    if penalty is None:
        return
    one_of("training.regularization.penalty_type", penalty.penalty_type, PENALTIES)
    given = {"weight_clipping_max": penalty.weight_clipping_max, "act_reg_threshold": penalty.act_reg_threshold}
    given["activation_regularization"] = penalty.activation_regularization
    at_least_0("training.regularization", {key: value for key, value in given.items() if value is not None})


def optimizer_options(config: ZooConfig) -> OptimizerOptions:
    """How the training loop changes parameters.

    Raises:
        UsageError: there is no such optimizer, or it has no such argument.
    """
    found = config.training
    one_of("training.optimizer", found.optimizer, OPTIMIZERS)
    given = {key: value for key, value in found.optimizer_arguments.items() if key != "lr"}
    known = ("weight_decay", "amsgrad")
    unknown = [key for key in given if key not in known]
    if unknown:
        raise UsageError(f"training.optimizer_arguments has no key {unknown[0]!r}: allowed are lr, {', '.join(known)}")
    decay, amsgrad = given.get("weight_decay", 0.0), given.get("amsgrad", False)
    if isinstance(decay, bool) or not isinstance(decay, int | float) or not isinstance(amsgrad, bool):
        raise UsageError(
            f"training.optimizer_arguments: weight_decay is a number, amsgrad true or false, found {given}"
        )
    clipped = found.regularization.weight_clipping_max if found.regularization is not None else None
    # torch's Adam adds its decay to the gradient, AdamW keeps it apart.
    apart = found.optimizer == "AdamW"
    return OptimizerOptions(
        "adam",
        amsgrad=amsgrad,
        weight_decay=float(decay) if apart else 0.0,
        l2_penalty=0.0 if apart else float(decay),
        clip_norm=0.0,
        max_param_change=0.0,
        max_weight=clipped or 0.0,
    )


def static_options(config: ZooConfig) -> StaticOptions:
    """What onnxruntime is told.

    Raises:
        UsageError: an option is impossible.
    """
    found = config.quantization
    try:
        return StaticOptions(
            found.per_channel,
            found.calibration_method,
            found.op_types_to_quantize,
            found.reduce_range,
            found.extra_options,
        )
    except UsageError as error:
        raise UsageError(f"quantization: {error}") from error


def _check_quantization(config: ZooConfig) -> None:
    found = config.quantization
    above_0("quantization", {"static_sequence_length": found.static_sequence_length})
    static_options(config)
    read_preset(found.preset)
    _check_amount("quantization.num_quantization_samples", found.num_quantization_samples)
    if found.noisy_quantization_files_path:
        _check_folder("quantization.noisy_quantization_files_path", found.noisy_quantization_files_path)


def _check_evaluation(config: ZooConfig) -> None:
    if config.evaluation.fixed_sequence_length is not None:
        above_0("evaluation", {"fixed_sequence_length": config.evaluation.fixed_sequence_length})


def _check_tools(config: ZooConfig) -> None:
    one_of("tools.stedgeai.optimization", config.tools.stedgeai.optimization, OPTIMIZATIONS)


def _check_deployment(config: ZooConfig) -> None:
    found = config.deployment
    above_0("deployment", {"frames_per_patch": found.frames_per_patch})
    at_least_0("deployment", {"lookahead_frames": found.lookahead_frames})
    wanted = found.frames_per_patch + 2 * found.lookahead_frames
    length = config.quantization.static_sequence_length
    if "quantize" in MODES[config.operation_mode] and length != wanted:
        raise UsageError(
            f"quantization.static_sequence_length must be frames_per_patch + 2 · lookahead_frames of the deployment, "
            f"{wanted}, found {length}"
        )


def _check_amount(where: str, value: float | None) -> None:
    if value is not None and not (value > 0 and (isinstance(value, int) or value <= 1)):
        raise UsageError(f"{where} must be a number of clips above 0, or a share of them up to 1.0, found {value}")


def _check_folder(where: str, path: str) -> None:
    if not Path(path).expanduser().is_dir():
        raise UsageError(f"{where}: there is no folder {path}")


def _check_dataset(config: ZooConfig) -> None:
    found, steps = config.dataset, MODES[config.operation_mode]
    one_of("dataset.name", found.name, (VALENTINI, CUSTOM, *(name for name in LAYOUTS if name != VALENTINI)))
    for name in ("num_training_samples", "num_validation_samples", "num_test_samples"):
        _check_amount(f"dataset.{name}", getattr(found, name))
    at_least_0("dataset", {"random_seed": found.random_seed})
    own_clips = steps[0] != "train" and bool(config.quantization.noisy_quantization_files_path)
    needs_train = "train" in steps or ("quantize" in steps and not own_clips)
    if found.name == CUSTOM:
        for needed, folders in ((needs_train, _TRAIN_FOLDERS), ("evaluate" in steps, _TEST_FOLDERS)):
            for key in folders if needed else ():
                path = getattr(found, key)
                # Calibration needs no clean speech.
                if path is None and not (key.startswith("clean_train") and "train" not in steps):
                    raise UsageError(f"dataset.{key} has no value: the mode {config.operation_mode} needs that folder")
                if path is not None:
                    _check_folder(f"dataset.{key}", path)
    elif needs_train or "evaluate" in steps:
        if found.root_folder is None:
            raise UsageError(f"dataset.root_folder has no value: the data of {found.name} lie there")
        _check_folder("dataset.root_folder", found.root_folder)
        if found.name == VALENTINI and found.n_speakers not in SPEAKERS:
            raise UsageError(f"dataset.n_speakers must be 28 or 56, found {found.n_speakers}")
