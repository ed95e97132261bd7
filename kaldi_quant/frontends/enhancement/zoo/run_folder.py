"""The folder of a run: its place, and the configuration that it was really made with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import yaml

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig

CONFIG_NAME, LOG_NAME = "config.yaml", "stm32ai_main.log"
_OUTPUTS, _DATE = "experiment_outputs", "%Y_%m_%d_%H_%M_%S"


def make_run_folder(config: ZooConfig, now: datetime) -> Path:
    """Makes the folder that ``hydra.run.dir`` names, by default ``./experiment_outputs/<date>``, and leaves the
    configuration there, all defaults and variables in their places.

    Args:
        config: of the run.
        now: when it began.

    Raises:
        DataError: the folder cannot be made.
    """
    asked = config.hydra.run.dir
    folder = Path(asked).expanduser() if asked else _new(Path(_OUTPUTS) / now.strftime(_DATE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder of the run {folder} cannot be made: {error.strerror}") from error
    with atomic_write(folder / CONFIG_NAME, "w") as stream:
        yaml.safe_dump(config.plain(), stream, sort_keys=False, allow_unicode=True)
    return folder


def _new(folder: Path) -> Path:
    """The folder, or one beside it, if another run began in the same second."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}_{number}")
    return found
