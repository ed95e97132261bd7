"""``work_dir``: ``conf.yml``, ``checkpoints/``, ``best_k_models.json``, ``latest_model.pth`` and ``best_model.pth``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaldi_quant.atomic import atomic_write
from kaldi_quant.json_file import read_object
from kaldi_quant.train.record import IterationRecord

_BEST = 3


@dataclass(frozen=True)
class WorkFolder:
    """The folder of a training.

    Args:
        path: of it.
        writes: whether this process writes.
    """

    path: Path
    writes: bool = True

    @property
    def checkpoints(self) -> Path:
        """Where an interrupted training goes on, with the best epochs."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The network that was chosen."""
        return self.path / "best_model.pth"

    @property
    def latest(self) -> Path:
        """That of the last epoch."""
        return self.path / "latest_model.pth"

    @property
    def best_k(self) -> Path:
        """The files of the best epochs, each with the loss on development data, or minus the score that decides."""
        return self.path / "best_k_models.json"

    def write_settings(self, settings: dict[str, Any]) -> None:
        """``conf.yml``, which says what was done.

        Raises:
            DataError: the folder cannot be written.
        """
        if self.writes:
            with atomic_write(self.path / "conf.yml", "w") as stream:
                stream.write(yaml.safe_dump(settings, sort_keys=False))

    def after_epoch(self, entry: IterationRecord, objective: str, write: Callable[[Path], None]) -> None:
        """Keeps the network of an epoch, if it is one of the best, and as the latest one.

        Args:
            entry: of the epoch.
            objective: what of its validation decides: ``loss``, or a score, of which more is better.
            write: writes the network into a file.

        Raises:
            DataError: the folder cannot be written.
        """
        if not self.writes:
            return
        write(self.latest)
        value = entry.valid.get(objective, math.nan)
        loss = value if objective == "loss" else -value
        kept = self._kept()
        if math.isnan(loss) or (len(kept) >= _BEST and loss >= max(kept.values())):
            return
        name = f"{self.checkpoints.name}/epoch={entry.iteration}.pth"
        write(self.path / name)
        kept[name] = loss
        order = sorted(kept, key=lambda key: kept[key])
        self._write_json({key: kept[key] for key in order[:_BEST]})
        for key in order[_BEST:]:
            (self.path / key).unlink(missing_ok=True)

    def _kept(self) -> dict[str, float]:
        """What an interrupted run has left; files that are gone do not count."""
        if not self.best_k.is_file():
            return {}
        found = read_object(self.best_k)
        return {key: found.real(key) for key in found.content if (self.path / key).is_file()}

    def _write_json(self, content: dict[str, float]) -> None:
        with atomic_write(self.best_k, "w") as stream:
            stream.write(json.dumps(content, indent=0) + "\n")

    def forget(self) -> None:
        """Removes what belongs to another training; its own checkpoint is refused where it is one of another."""
        if self.writes:
            for key in self._kept():
                (self.path / key).unlink(missing_ok=True)
            self.best_k.unlink(missing_ok=True)
