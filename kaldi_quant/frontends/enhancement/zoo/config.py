"""What a run of the services does, as ``user_config.yaml`` has it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from kaldi_quant.frontends.enhancement.zoo.board_sections import Benchmarking, Deployment, Tools
from kaldi_quant.frontends.enhancement.zoo.sections import (
    Dataset,
    Evaluation,
    General,
    Hydra,
    Mlflow,
    Model,
    ModelSpecific,
    Preprocessing,
    Quantization,
    Training,
)


@dataclass(frozen=True)
class ZooConfig:
    """All of it: ``operation_mode``, a name of ``MODES``, and the sections."""

    operation_mode: str
    general: General = field(default_factory=General)
    model: Model = field(default_factory=Model)
    model_specific: ModelSpecific = field(default_factory=ModelSpecific)
    dataset: Dataset = field(default_factory=Dataset)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    training: Training = field(default_factory=Training)
    quantization: Quantization = field(default_factory=Quantization)
    evaluation: Evaluation = field(default_factory=Evaluation)
    tools: Tools = field(default_factory=Tools)
    benchmarking: Benchmarking = field(default_factory=Benchmarking)
    deployment: Deployment = field(default_factory=Deployment)
    mlflow: Mlflow = field(default_factory=Mlflow)
    hydra: Hydra = field(default_factory=Hydra)

    @property
    def bins(self) -> int:
        """Of a spectrum."""
        return self.preprocessing.n_fft // 2 + 1

    def plain(self) -> dict[str, Any]:
        """As YAML has it; reading it gives the same again."""
        return _plain(dataclasses.asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value
