"""Runs in MLflow, where the configuration asks for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.cells import flat
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig

_log = logging.getLogger(__name__)
# MLflow refuses longer ones.
_LONGEST = 500
_FOLDERS_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"


class Tracking:
    """Values of a run.

    Args:
        mlflow: the package; None where nothing is kept.
    """

    def __init__(self, mlflow: Any = None) -> None:
        self._mlflow = mlflow

    def scores(self, name: str, values: Mapping[str, float]) -> None:
        """Keeps scores; name: what was scored."""
        if self._mlflow is not None:
            self._mlflow.log_metrics({f"{name}.{key}": value for key, value in values.items()})

    def epochs(self, rows: list[dict[str, str]]) -> None:
        """Keeps the table of epochs."""
        for row in rows if self._mlflow is not None else ():
            values = {key: float(value) for key, value in row.items() if value and key != "epoch"}
            self._mlflow.log_metrics(values, step=int(row["epoch"]))


@contextmanager
def tracked(config: ZooConfig, folder: Path) -> Iterator[Tracking]:
    """A run of MLflow while the block runs, named as the folder is; its files become artifacts.

    Without ``mlflow.uri`` nothing is kept. Where the package is missing, one sentence says so.

    Args:
        config: of the run.
        folder: of the run.

    Raises:
        DataError: MLflow cannot use the place.
    """
    uri = config.mlflow.uri
    if not uri:
        yield Tracking()
        return
    try:
        import mlflow
    except ImportError:
        _log.warning("mlflow.uri %s: this run is not kept in MLflow, which is not installed: pip install mlflow", uri)
        yield Tracking()
        return
    if "://" not in uri:
        # MLflow asks to be told that a folder, as the zoo's configurations name one, is meant.
        os.environ.setdefault(_FOLDERS_ALLOWED, "true")
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(config.general.project_name)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise DataError(f"mlflow.uri {uri} cannot be used: {' '.join(str(error).split())}") from error
    with mlflow.start_run(run_name=folder.name):
        parameters = {key: str(value)[:_LONGEST] for key, value in flat(config.plain())}
        mlflow.log_params(parameters)
        yield Tracking(mlflow)
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".json", ".csv", ".yaml", ".png") and path.is_file():
                below = path.parent.relative_to(folder)
                mlflow.log_artifact(str(path), str(below) if below.parts else None)
