"""A float mask network in 8 bits by onnxruntime and by this project, each for any length and for a fixed one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.api import files, quantization
from kaldi_quant.backends.onnx.static_quantization import OF_ONE_SIZE, quantize_static
from kaldi_quant.errors import DataError, KaldiQuantError, UsageError
from kaldi_quant.frontends.enhancement.zoo.checks import static_options
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.front import ZooFront
from kaldi_quant.frontends.enhancement.zoo.mask_file import MaskFile, read_mask_file, write_static
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.torchnn.onnx_import.network import read_onnx_network
from kaldi_quant.units import Frames

_log = logging.getLogger(__name__)
PREPARED_NAME = "preprocessed_model.onnx"
#: Who quantizes → the beginning of the names of files.
QUANTIZERS = {"onnxruntime": "quantized_model_int8", "kaldi_quant": "quantized_model_kaldi_quant"}
# More clips hardly move ranges, and this project keeps all of them in memory.
_MOST_CLIPS = 100


@dataclass(frozen=True)
class QuantizedFiles:
    """A quantized network.

    Args:
        dynamic: for any number of frames.
        static: for one clip of a fixed number.
    """

    dynamic: MaskFile
    static: MaskFile


def require_float(file: MaskFile, mode: str) -> None:
    """Refuses a network that is quantized already.

    Raises:
        UsageError: it is.
    """
    if file.quantized is not None:
        raise UsageError(
            f"{file.path} is quantized already ({file.quantized}): the mode {mode} begins with a float network; "
            "the mode evaluation scores quantized ones"
        )


def quantize_both(
    source: MaskFile, clips: Sequence[Array], config: ZooConfig, front: ZooFront, folder: Path
) -> dict[str, QuantizedFiles]:
    """Quantizes a network by onnxruntime and by this project.

    What this project cannot quantize is told, and left out.

    Args:
        source: in float, for any number of frames.
        clips: noisy waves, each (samples,) float32.
        config: of the run.
        front: what stands around the network.
        folder: for the files.

    Returns:
        the files, by who quantized.

    Raises:
        DataError: there are no clips.
        UsageError: the network is for a fixed number of frames, or its last axis has another name than is stated.
        ModelError: onnxruntime cannot quantize it.
        MissingDependencyError: a package is not installed.
    """
    asked = config.quantization
    if source.frames is not None:
        raise UsageError(
            f"{source.path} is for {source.frames} frames: quantization begins with a network for any number of them"
        )
    if source.axis != asked.static_axis_name:
        raise UsageError(
            f"quantization.static_axis_name is {asked.static_axis_name!r}, but the last axis of {source.path} is "
            f"{source.axis!r}"
        )
    if not len(clips):
        raise DataError("there are no clips to calibrate on: see quantization.num_quantization_samples")
    found = {"onnxruntime": _by_onnxruntime(source, clips, config, front, folder)}
    try:
        found["kaldi_quant"] = _by_this_project(source, clips, config, front, folder)
    except KaldiQuantError as error:
        _log.warning("kaldi_quant's own quantization is left out: %s", error)
    return found


def _by_onnxruntime(
    source: MaskFile, clips: Sequence[Array], config: ZooConfig, front: ZooFront, folder: Path
) -> QuantizedFiles:
    options = static_options(config)
    length = config.quantization.static_sequence_length if options.calibration_method in OF_ONE_SIZE else None
    inputs = ({source.input: each.numpy()} for each in magnitudes(clips, front, length))
    dynamic, static = _paths(folder, "onnxruntime")
    quantize_static(source.path, dynamic, inputs, options, folder / PREPARED_NAME)
    made = read_mask_file(dynamic, config.bins)
    write_static(made, config.quantization.static_sequence_length, static)
    return QuantizedFiles(made, read_mask_file(static, config.bins))


def _by_this_project(
    source: MaskFile, clips: Sequence[Array], config: ZooConfig, front: ZooFront, folder: Path
) -> QuantizedFiles:
    places = np.linspace(0, len(clips) - 1, min(len(clips), _MOST_CLIPS)).round().astype(int)
    inputs = list(magnitudes([clips[place] for place in places], front))
    network = read_onnx_network(source.path)
    made = quantization.quantize(network, config.quantization.preset, calibration=inputs)
    for layer, reason in made.float_layers.items():
        _log.info("kaldi_quant: %s stays in float: %s", layer, reason)
    dynamic, static = _paths(folder, "kaldi_quant")
    frames = config.quantization.static_sequence_length
    sizes: dict[Path, tuple[int | str, Frames | str]] = {dynamic: (source.batch, source.axis), static: (1, frames)}
    for path, (batch, length) in sizes.items():
        shape = {source.input: (batch, config.bins, length)}
        files.export(made, path, example=inputs[0], inputs=shape, outputs=[source.output])
    files.save(made, dynamic.with_suffix(".safetensors"))
    return QuantizedFiles(read_mask_file(dynamic, config.bins), read_mask_file(static, config.bins))


def _paths(folder: Path, quantizer: str) -> tuple[Path, Path]:
    name = QUANTIZERS[quantizer]
    return folder / f"{name}.onnx", folder / f"{name}_static.onnx"


def magnitudes(clips: Sequence[Array], front: ZooFront, length: Frames | None = None) -> Iterator[Tensor]:
    """What a network is called with for clips: (1, bins, T) each.

    Args:
        clips: waves, (samples,) float32 each; those without samples are left out.
        front: what stands around the network.
        length: cut into pieces of so many frames; what is left over at the end is not used; a shorter clip is filled up
            with silence. None for whole clips.
    """
    for place in range(len(clips)):
        wave = clips[place]
        if not len(wave):
            continue
        whole = front.inputs(front.stft.spectrum(torch.from_numpy(wave)[None])).contiguous()
        if length is None:
            yield whole
            continue
        if whole.shape[-1] < length:
            whole = functional.pad(whole, (0, length - whole.shape[-1]))
        for begin in range(0, whole.shape[-1] - length + 1, length):
            yield whole[..., begin : begin + length].contiguous()
