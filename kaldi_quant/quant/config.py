"""What post-training quantization does, as a configuration: read from YAML, stored beside every result."""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.observers import OBSERVERS
from kaldi_quant.quant.spec import QSpec

WEIGHT_METHODS = ("minmax", "mse", "gptq")


@dataclass(frozen=True)
class LayerConfig:
    """How one layer is quantized.

    Args:
        bits: width of its weights.
        act_bits: width of its input.
        method: how weights are rounded: minmax, mse or gptq.
        per_channel: one weight scale for each output channel, else one for the matrix.
        float_reason: why the layer stays in float; empty for layers that are quantized.
    """

    bits: int = 8
    act_bits: int = 8
    method: str = "mse"
    per_channel: bool = True
    float_reason: str = ""

    def __post_init__(self) -> None:
        if self.method not in WEIGHT_METHODS:
            raise UsageError(f"method {self.method!r} is none of {', '.join(WEIGHT_METHODS)}")
        QSpec(self.act_bits)
        self.weight_spec()

    def weight_spec(self) -> QSpec:
        """The grid of the weights."""
        return QSpec(self.bits, signed=True, symmetric=True, per_channel=self.per_channel)

    def activation_spec(self, signed: bool, per_channel: bool = False) -> QSpec:
        """The grid of the input: unsigned where nothing negative was seen."""
        return QSpec(self.act_bits, signed=False, symmetric=not signed, per_channel=per_channel)


@dataclass(frozen=True)
class PtqConfig:
    """Post-training quantization of a network.

    Args:
        default: how layers are quantized.
        layers: by pattern of the layer's name (shell wildcards) the fields that differ; the last match wins.
        observer: how activation ranges are found.
        bias_correction: whether biases take up the mean error on the calibration set.
        sequential: whether each layer is fitted to inputs that the quantized layers before it make; one run over the
            calibration set for each layer instead of one for all.
    """

    default: LayerConfig = field(default_factory=LayerConfig)
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    observer: str = "mse"
    bias_correction: bool = True
    sequential: bool = False

    def __post_init__(self) -> None:
        if self.observer not in OBSERVERS:
            raise UsageError(f"observer {self.observer!r} is none of {', '.join(OBSERVERS)}")

    def for_layers(self, names: list[str]) -> dict[str, LayerConfig]:
        """The configuration of each layer.

        Raises:
            UsageError: a pattern matches no layer.
        """
        chosen = dict.fromkeys(names, self.default)
        for pattern, changes in self.layers.items():
            matched = fnmatch.filter(names, pattern)
            if not matched:
                raise UsageError(f"the pattern {pattern!r} matches no layer; the layers are {', '.join(names)}")
            for name in matched:
                chosen[name] = _changed(chosen[name], changes, f"layers, {pattern}")
        return chosen

    def as_dict(self) -> dict[str, Any]:
        """The configuration with all defaults filled in, for storing."""
        return dataclasses.asdict(self)


def read_config(path: str | Path) -> PtqConfig:
    """Reads a configuration from YAML.

    Raises:
        UsageError: the file is missing or malformed, or has a key that does not exist.
    """
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    return config_from_dict(content, str(path))


def config_from_dict(content: Any, where: str) -> PtqConfig:
    """A configuration from plain values, as in YAML or JSON."""
    if not isinstance(content, dict):
        raise UsageError(f"{where}: expected keys and values, found {type(content).__name__}")
    content = dict(content)
    default = _changed(LayerConfig(), content.pop("default", {}), f"{where}, default")
    return _changed(PtqConfig(default), content, where)


def _changed(base: Any, changes: Any, where: str) -> Any:
    """A dataclass with some fields changed; unknown ones are refused with those that exist."""
    known = {entry.name: getattr(base, entry.name) for entry in dataclasses.fields(base)}
    if not isinstance(changes, dict):
        raise UsageError(f"{where}: expected keys and values, found {changes!r}")
    for key, value in changes.items():
        if key not in known:
            allowed = ", ".join(f"{name} ({default})" for name, default in known.items())
            raise UsageError(f"{where}: there is no key {key!r}; keys and defaults are {allowed}")
        if type(value) is not type(known[key]):
            raise UsageError(f"{where}: {key} must be like {known[key]!r}, found {value!r}")
    return dataclasses.replace(base, **changes)
