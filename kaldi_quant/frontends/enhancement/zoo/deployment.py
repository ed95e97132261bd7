"""A quantized network made ready for the application in C: its parameters as a header, its code by ST's program."""

from __future__ import annotations

import logging
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.mask_file import MaskFile
from kaldi_quant.frontends.enhancement.zoo.stedgeai import FOLDER_NAME, find_program, generate

_log = logging.getLogger(__name__)
HEADER_NAME = "C_header/ai_model_config.h"
# Of digital microphones on the boards.
_RATES = (16000, 48000)
_GUARD = "AI_MODEL_CONFIG_H"


def check_deployable(file: MaskFile, config: ZooConfig) -> None:
    """Refuses networks that the application cannot run.

    Raises:
        UsageError: it is in float, is for another number of frames, or the preprocessing is one that the application
            does not have.
    """
    asked, signals = config.deployment, config.preprocessing
    frames = asked.frames_per_patch + 2 * asked.lookahead_frames
    if file.quantized is None:
        raise UsageError(f"{file.path} is a float network: a board needs one of 8 bits, see the mode chain_qd")
    if file.frames != frames:
        found = "any number of" if file.frames is None else str(file.frames)
        raise UsageError(
            f"{file.path} is for {found} frames: the deployment needs frames_per_patch + 2 · lookahead_frames, {frames}"
        )
    if signals.sample_rate not in _RATES:
        rates = " or ".join(map(str, _RATES))
        raise UsageError(f"preprocessing.sample_rate must be {rates} on a board, found {signals.sample_rate}")
    if signals.n_fft & (signals.n_fft - 1):
        raise UsageError(f"preprocessing.n_fft must be a power of two on a board, found {signals.n_fft}")


def header(config: ZooConfig) -> str:
    """The parameters that the application is compiled with, in C."""
    asked, signals = config.deployment, config.preprocessing
    values = {
        "CTRL_X_CUBE_AI_SENSOR_ODR": f"({signals.sample_rate}.0F)",
        "CTRL_X_CUBE_AI_PREPROC": "(CTRL_AI_STFT)",
        "CTRL_X_CUBE_AI_POSTPROC": "(CTRL_AI_ISTFT)",
        "CTRL_X_CUBE_AI_SPECTROGRAM_HOP_LENGTH": f"({signals.hop_length}U)",
        "CTRL_X_CUBE_AI_SPECTROGRAM_NFFT": f"({signals.n_fft}U)",
        "CTRL_X_CUBE_AI_SPECTROGRAM_WINDOW_LENGTH": f"({signals.win_length}U)",
        "CTRL_X_CUBE_AI_SPECTROGRAM_COL_NO_OVL": f"({asked.frames_per_patch}U)",
        "CTRL_X_CUBE_AI_SPECTROGRAM_COL_OVL": f"({asked.lookahead_frames}U)",
        "CTRL_X_CUBE_AI_AUDIO_OUT_DB_THRESHOLD": f"({float(asked.output_silence_threshold)}F)",
    }
    width = max(map(len, values))
    lines = [f"#define {name:{width}} {value}" for name, value in values.items()]
    return "\n".join([f"#ifndef {_GUARD}", f"#define {_GUARD}", "", *lines, "", f"#endif /* {_GUARD} */", ""])


def deploy(file: MaskFile, config: ZooConfig, folder: Path) -> None:
    """Writes the header, and makes C code where ST's program is installed. Boards are not written to.

    Args:
        file: the network.
        config: of the run.
        folder: of the run.

    Raises:
        UsageError: the application cannot run it.
        DataError: ST's program fails.
    """
    check_deployable(file, config)
    asked = config.deployment
    with atomic_write(folder / HEADER_NAME, "w") as stream:
        stream.write(header(config))
    _log.info("%s has the parameters of the application", folder / HEADER_NAME)
    program = find_program(config.tools.stedgeai)
    if program is None:
        return
    generate(program, file.path, asked.hardware_setup.board, config.tools.stedgeai, folder / FOLDER_NAME)
    project = asked.c_project_path
    if project is None or not Path(project).expanduser().is_dir():
        where = "has no value" if project is None else f"is no folder: {project}"
        _log.warning("deployment.c_project_path %s: the code is not copied into an application", where)
    _log.info("the application is built and written to a board with ST's own tools (%s)", asked.build_conf)
