"""The networks by name, each with what it separates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz

#: Whom networks of speech separate; one is as good as the other.
SPEAKERS = ("s1", "s2")
#: What networks of music separate, in this order.
STEMS = ("drums", "bass", "other", "vocals")


@dataclass(frozen=True)
class Kind:
    """A network that can be built: of mixtures (N, channels, samples) it makes (N, sources, channels, samples).

    Args:
        build: makes one of random weights; keyword arguments change its sizes.
        rate: of mixtures.
        sources: their names.
        is_ordered: whether outputs have these names; else any of them may be any source.
        channels: of a mixture and of each source.
        encoders: the names of the modules that read the signal or its spectrum, each a convolution.
        decoders: the names of the modules whose results are the signal, or added up to it.
    """

    build: Callable[..., nn.Module]
    rate: Hertz
    sources: tuple[str, ...] = SPEAKERS
    is_ordered: bool = False
    channels: int = 1
    encoders: tuple[str, ...] = ("encoder",)
    decoders: tuple[str, ...] = ("decoder",)


#: By name; ``<name>-small`` is a reduced configuration of the same network, for the embedded example.
NETWORKS: Registry[Kind] = Registry("separation network")
for _module, _names in {
    "conv_tasnet": ("conv-tasnet", "conv-tasnet-small"),
    "dptnet": ("dptnet", "dptnet-small"),
    "sepformer": ("sepformer", "sepformer-small"),
    "conv_tasnet_music": ("conv-tasnet-music", "conv-tasnet-music-small"),
    "htdemucs": ("htdemucs", "htdemucs-small"),
}.items():
    for _name in _names:
        NETWORKS.declare(_name, f"kaldi_quant.frontends.separation.networks.{_module}")
