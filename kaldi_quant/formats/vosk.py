"""Folders of Vosk's models around integer models."""

from __future__ import annotations

import shutil
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.formats.artefact import Artefact
from kaldi_quant.formats.dequantized import write_dequantized
from kaldi_quant.formats.names import ARTEFACT_NAME, RECORD_NAME
from kaldi_quant.kaldi.vosk_folder import VoskFolder


def check_vosk_target(vosk: VoskFolder, out: Path) -> None:
    """Refuses a place for a copy, before any work.

    Raises:
        DataError: it is the folder itself, or within it.
    """
    source, target = vosk.path.resolve(), out.resolve()
    if target == source or source in target.parents:
        raise DataError(f"{out} is within {vosk.path}, which is copied: name another folder")


def copy_vosk_folder(vosk: VoskFolder, out: Path) -> Path:
    """Copies all of a folder but its model, in float and in integers, and makes the model's folder.

    Args:
        vosk: the folder of the float model.
        out: the other one, which may hold what an interrupted run left.

    Returns:
        the folder for the model.

    Raises:
        DataError: the folder cannot be written, or is within the float model's.
    """
    check_vosk_target(vosk, out)

    def models(folder: str, names: list[str]) -> list[str]:
        is_models = Path(folder).resolve() == vosk.model.parent.resolve()
        return [vosk.model.name, ARTEFACT_NAME, RECORD_NAME] if is_models else []

    try:
        shutil.copytree(vosk.path, out, ignore=models, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise DataError(f"{vosk.path} cannot be copied to {out}: {' '.join(str(error).split())[:300]}") from error
    return out / vosk.model.relative_to(vosk.path).parent


def write_vosk_model(vosk: VoskFolder, out: Path, artefact: Artefact) -> Path:
    """Writes the model that Vosk loads: the quantized weights, in float.

    Args:
        vosk: the folder of the float model.
        out: that of the integer model, as ``copy_vosk_folder`` left it.
        artefact: the integer model.
    """
    return write_dequantized(out / vosk.model.relative_to(vosk.path), artefact)
