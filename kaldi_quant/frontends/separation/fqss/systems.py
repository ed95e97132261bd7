"""FQSS's systems: which network each is, and what its environment for training has by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.fqss.settings import ModelCfg, OptimCfg, TrainingCfg
from kaldi_quant.frontends.separation.losses import Distillation
from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind
from kaldi_quant.registry import Registry

_SMALL = "-small"


@dataclass(frozen=True)
class Environment:
    """How systems are trained, where files say nothing else.

    Args:
        training: the defaults of ``training_cfg``.
        loss: of ``LOSSES``.
        distillation: what the float network teaches, but for its share.
        augment: what changes pieces: names of ``AUGMENTATIONS`` and their options.
    """

    training: TrainingCfg
    loss: str
    distillation: Distillation = field(default_factory=Distillation)
    augment: Mapping[str, Any] = field(default_factory=dict)


#: By the names of ``-env``.
ENVIRONMENTS: Registry[Environment] = Registry("environment")
_SPEECH_LOSS = "pit-si-sdr-linear"
# Of music all parts are moved and changed, each on its own; ``shift`` is filled in by ``data_stride``.
_OF_MUSIC: dict[str, Any] = {"shift": {}, "flip-sign": {}, "flip-channels": {}, "scale": {}}
ENVIRONMENTS.add("asteroid")(Environment(TrainingCfg(), _SPEECH_LOSS))
ENVIRONMENTS.add("speechbrain")(
    Environment(
        TrainingCfg(
            epochs=60,
            batch_size=1,
            half_lr=True,
            patience=3,
            hold=20,
            auto_mix_prec=True,
            threshold_byloss=True,
            optim=OptimCfg(lr=1.5e-4),
        ),
        _SPEECH_LOSS,
        augment={"speed": {}},
    )
)
ENVIRONMENTS.add("tasnet")(
    Environment(
        TrainingCfg(epochs=25, batch_size=8, optim=OptimCfg(lr=1e-4, clip_grad=0.0)),
        "l1",
        Distillation(heed="hurt-more"),
        _OF_MUSIC,
    )
)
ENVIRONMENTS.add("htdemucs")(
    Environment(
        TrainingCfg(epochs=90, batch_size=32, optim=OptimCfg(lr=3e-4, clip_grad=0.0)),
        "l1",
        Distillation(heed="hurt-more", base="e", each="source"),
        {"repitch": {}, **_OF_MUSIC, "remix": {"group": 4}},
    )
)


@dataclass(frozen=True)
class System:
    """A system.

    Args:
        network: of ``NETWORKS``.
        environment: of ``ENVIRONMENTS``.
        sizes: keys of ``model_cfg``, and what they are in the network's sizes.
        counts: whether it may have another number of sources.
    """

    network: str
    environment: str
    sizes: Mapping[str, str] = field(default_factory=dict)
    counts: bool = True


#: By FQSS's names; the names of ``NETWORKS`` are taken, too.
SYSTEMS: Registry[System] = Registry("system")
_BOTH = {"kernel_size": "window", "stride": "stride"}
for _name, _system in {
    "ConvTasNet": System("conv-tasnet", "asteroid", _BOTH),
    "DPTNet": System("dptnet", "asteroid", {"kernel_size": "window"}),
    "Sepformer": System("sepformer", "speechbrain", _BOTH),
    "ConvTasNetMusic": System("conv-tasnet-music", "tasnet", _BOTH, counts=False),
    "HTDemucs": System("htdemucs", "htdemucs", counts=False),
}.items():
    SYSTEMS.add(_name)(_system)
    SYSTEMS.add(_system.network)(_system)
    SYSTEMS.add(f"{_system.network}{_SMALL}")(replace(_system, network=f"{_system.network}{_SMALL}"))


@dataclass(frozen=True)
class Chosen:
    """The network of a file of settings.

    Args:
        system: that it names.
        kind: of the network, with as many sources as it says.
        sizes: of the network, where they are not its own.
    """

    system: System
    kind: Kind
    sizes: dict[str, Any]

    @property
    def name(self) -> str:
        """Of ``NETWORKS``."""
        return self.system.network


def system_of(name: str, where: str) -> System:
    """The system of ``model_cfg, name``.

    Raises:
        UsageError: there is none.
    """
    try:
        return SYSTEMS[name]
    except UsageError as error:
        raise UsageError(f"{where}: model_cfg, name: {error}") from error


def chosen_network(model: ModelCfg, where: str) -> Chosen:
    """What ``model_cfg`` means.

    Args:
        model: the section.
        where: it stands, for messages.

    Raises:
        UsageError: there is no such system, or it has no such sizes.
    """
    system = system_of(model.name, where)
    kind, sizes = NETWORKS[system.network], dict(model.sizes)
    for key in ("kernel_size", "stride"):
        value = getattr(model, key)
        if value and key not in system.sizes:
            known = ", ".join(system.sizes) or "neither kernel_size nor stride"
            raise UsageError(f"{where}: model_cfg, {key}: {model.name} has {known}")
        if value:
            sizes[system.sizes[key]] = value
    names = tuple(name for name in model.sources if name)
    if names and names != kind.sources:
        raise UsageError(f"{where}: model_cfg, sources: {model.name} separates {', '.join(kind.sources)}")
    if model.n_src and model.n_src != len(kind.sources):
        if not system.counts:
            raise UsageError(f"{where}: model_cfg, n_src: {model.name} separates {len(kind.sources)} sources")
        sizes["sources"] = model.n_src
        kind = replace(kind, sources=tuple(f"s{place + 1}" for place in range(model.n_src)))
    return Chosen(system, replace(kind, build=partial(kind.build, **sizes)), sizes)
