"""What post-training quantization does, as a configuration: read from YAML, stored beside every result."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.equalization import EQUALIZATIONS
from kaldi_quant.quant.layer_config import LayerConfig, one_of
from kaldi_quant.quant.layer_kinds import KINDS
from kaldi_quant.quant.quantizers import quantizers, routes
from kaldi_quant.settings import changed, read_yaml

FOLDS = ("auto", "backwards", "none")
_MOST_HEADROOM = 4.0


@dataclass(frozen=True)
class PtqConfig:
    """Post-training quantization of a network.

    Args:
        default: how layers are quantized.
        layers: by pattern of the layer's name (shell wildcards), or by @kind (``layer_kinds``), the fields that differ;
            the last match wins.
        observer: how activation ranges are found.
        feature_headroom: the factor by which the grids of features are wider than their range in the calibration set:
            other speech goes beyond its least and its greatest values.
        fold: what becomes of normalizations and of fixed transforms of features, such as LDA: backwards, they are
            multiplied into layers; none, they stay as they are, in float; auto, backwards unless weights with one
            scale for a matrix would suffer from it, which equalization prevents.
        equalization: how channels are rescaled beforehand: none, cle, smoothquant or awq.
        bias_correction: whether biases take up the mean error on the calibration set; of adaround, what it has learned.
        description: what it is for, in a sentence.
        backend: who quantizes: kaldi_quant, or torch, PyTorch's own functions.
        route: with torch: eager, torch.ao.quantization, or pt2e, torchao on an exported graph.
        engine: with torch: whose kernels run the result; auto is the fastest that the machine has.
        sequential: whether each layer makes up for the layers before it: it is fitted to the inputs that they make
            when they are quantized, and to the float layer's outputs; a run over the calibration set for each layer.
    """

    default: LayerConfig = field(default_factory=LayerConfig)
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    observer: str = "mse"
    feature_headroom: float = 1.0
    fold: str = "auto"
    equalization: str = "none"
    bias_correction: bool = True
    sequential: bool = False
    description: str = ""
    backend: str = "kaldi_quant"
    route: str = "eager"
    engine: str = "auto"

    def __post_init__(self) -> None:
        one_of("backend", self.backend, quantizers())
        one_of("route", self.route, tuple(routes()))
        one_of("observer", self.observer, quantizers()[self.backend].observers)
        one_of("fold", self.fold, FOLDS)
        one_of("equalization", self.equalization, ("none", *EQUALIZATIONS))
        if not 1.0 <= self.feature_headroom <= _MOST_HEADROOM:
            raise UsageError(f"feature_headroom must be from 1 to {_MOST_HEADROOM:g}, found {self.feature_headroom:g}")

    @property
    def folds(self) -> bool:
        """Whether normalizations become part of layers."""
        if self.fold != "auto":
            return self.fold == "backwards"
        given = [changes.get("per_channel", self.default.per_channel) for changes in self.layers.values()]
        return all([self.default.per_channel, *given]) or self.equalization != "none"

    def for_layers(self, kinds: Mapping[str, Collection[str]]) -> dict[str, LayerConfig]:
        """The configuration of each layer.

        Args:
            kinds: for each layer its kinds.

        Raises:
            UsageError: a pattern of names matches no layer, or a kind does not exist. That no layer is of a kind is no
                error: rules by kind are for networks of every structure.
        """
        chosen = dict.fromkeys(kinds, self.default)
        for pattern, changes in self.layers.items():
            kind = pattern.removeprefix("@")
            if kind != pattern:
                matched = [name for name in kinds if kind in kinds[name]]
                one_of("layers: the kind", kind, KINDS)
            elif not (matched := fnmatch.filter(kinds, pattern)):
                known = ", ".join(f"{name} (@{', @'.join(sorted(kinds[name]))})" for name in kinds)
                raise UsageError(f"the pattern {pattern!r} matches no layer; the layers are {known}")
            for name in matched:
                chosen[name] = changed(chosen[name], changes, f"layers, {pattern}")
        return chosen

    def as_dict(self) -> dict[str, Any]:
        """The configuration with all defaults filled in, for storing."""
        return dataclasses.asdict(self)


def read_config(path: str | Path) -> PtqConfig:
    """Reads a configuration from YAML.

    Raises:
        UsageError: the file is missing or malformed, or has a key that does not exist.
    """
    return config_from_dict(read_yaml(path), str(path))


def config_from_dict(content: Any, where: str) -> PtqConfig:
    """A configuration from plain values, as in YAML or JSON."""
    if not isinstance(content, dict):
        raise UsageError(f"{where}: expected keys and values, found {type(content).__name__}")
    content = dict(content)
    default = changed(LayerConfig(), content.pop("default", {}), f"{where}, default")
    return changed(PtqConfig(default), content, where)
