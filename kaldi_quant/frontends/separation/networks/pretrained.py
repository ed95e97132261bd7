"""Checkpoints of other programs: asteroid, speechbrain, demucs, FQSS and the like, as they are.

They hold the parameters of the same networks under other names, which are told here beside ours. What a file says of a
network beyond its parameters (``model_args`` of asteroid) must hold for it, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.frontends.checkpoints import load_parameters, parameters_of, read_content
from kaldi_quant.frontends.separation.networks.demucs_files import CLASSES, DemucsFile, read_demucs, sizes_of
from kaldi_quant.frontends.separation.networks.known import NETWORKS

#: Names in other programs, as regular expressions, and what they are here, in the order in which they are tried.
Names = Sequence[tuple[str, str]]

_SEPFORMER_OF_FQSS: Names = (
    (r"^encoder\.0\.", "encoder.conv1d."),
    (r"^masker\.", "masknet."),
    (r"^masknet\.layers\.", "masknet.dual_mdl."),
    (r"\.(intra|inter)_transformer_block\.(layers|norm)\.", r".\1_mdl.mdl.\2."),
    (r"\.(intra|inter)_transformer_block\.pos\.", r".\1_mdl.pos_enc."),
    (r"(\.mdl\.layers\.\d+)\.mha\.", r"\1.self_att.att."),
    (r"(\.mdl\.layers\.\d+)\.ffn\.", r"\1.pos_ffn.ffn."),
    (r"(\.mdl\.(?:layers\.\d+\.)?norm[12]?)\.(weight|bias)$", r"\1.norm.\2"),
    (r"^masknet\.end_conv\.0\.", "masknet.end_conv1x1."),
    (r"^masknet\.net_out\.", "masknet.output."),
    (r"^masknet\.net_gate\.", "masknet.output_gate."),
)
#: By network.
NAMES: dict[str, Names] = {
    "conv-tasnet": (
        (r"^(encoder|decoder)\.filterbank\._filters$", r"\1.weight"),
        (r"^(masker\..*)\.gamma$", r"\1.weight"),
        (r"^(masker\..*)\.beta$", r"\1.bias"),
    ),
    "sepformer": _SEPFORMER_OF_FQSS,
    "conv-tasnet-music": (
        (r"^encoder\.(conv1d_U|0)\.", "encoder."),
        (r"^decoder\.basis_signals\.", "decoder."),
        (r"^separator\.network\.0\.norm\.", "separator.network.0."),
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
    ),
}
# Of norms, which have axes of one beside that of channels in some programs.
_OF_NORMS = (".gamma", ".beta")
#: What speechbrain's files are of.
_FILES = {"encoder.ckpt": "encoder.", "masknet.ckpt": "masknet.", "decoder.ckpt": "decoder."}
#: Of asteroid's ``model_args`` what parameters do not show, and the one value that the networks have here.
_FIXED: dict[str, tuple[Any, ...]] = {
    "mask_act": ("relu",),
    "norm_type": ("gLN",),
    "encoder_activation": (None, "linear"),
    "fb_name": ("free", "FreeFB"),
    "causal": (False,),
}
# Of checkpoints that a Lightning module wrote: the teacher, and the network itself.
_TEACHER, _NETWORK = "fmodel.", "model."


def load_pretrained(kind: str, network: nn.Module, path: Path) -> None:
    """Gives a network the parameters of another program's checkpoint, or of one of ours.

    Args:
        kind: its name in ``NETWORKS``.
        network: of that kind and of the checkpoint's sizes; is changed.
        path: a file of torch with parameters by name, alone or under ``state_dict``, also of a Lightning module
            (``model.``); a file of demucs with its class and arguments; or a folder with ``encoder.ckpt``,
            ``masknet.ckpt`` and ``decoder.ckpt``.

    Raises:
        UsageError: there is no such kind.
        FormatError: the file is missing or damaged, or would have to be executed.
        ModelError: it is of another network: the message lists what differs.
    """
    NETWORKS[kind]
    base = kind.removesuffix("-small")
    package = read_demucs(path)
    found: Mapping[str, Tensor]
    if path.is_dir():
        found = _of_folder(path)
    elif package is not None:
        found = _of_demucs(base, package)
        package.check(network)
    else:
        content = read_content(path)
        _check_arguments(path, network, content.get("model_args", {}))
        found = _of_network(parameters_of(path, content))
    load_parameters(path, network, _renamed(found, NAMES.get(base, ())), kind)


def pretrained_sizes(kind: str, path: Path) -> dict[str, Any]:
    """What ``Kind.build`` must be called with for the network of a checkpoint; networks of music have several sizes.

    Args:
        kind: its name in ``NETWORKS``.
        path: as of ``load_pretrained``.

    Raises:
        FormatError: the file is missing or damaged, or would have to be executed.
        ModelError: it is of another network.

    Example:
        >>> network = NETWORKS["htdemucs"].build(**pretrained_sizes("htdemucs", path))
        >>> load_pretrained("htdemucs", network, path)
    """
    base = kind.removesuffix("-small")
    if base not in CLASSES.values():
        return {}
    package = read_demucs(path)
    if package is not None:
        return sizes_of(path, base, _renamed(_of_demucs(base, package), NAMES.get(base, ())), package.options)
    parameters = _of_network(parameters_of(path, read_content(path)))
    return sizes_of(path, base, _renamed(parameters, NAMES.get(base, ())), {})


def _of_demucs(kind: str, package: DemucsFile) -> Mapping[str, Tensor]:
    """The parameters of a file of demucs."""
    if package.kind != kind:
        raise ModelError(f"{package.path} is a checkpoint of another network: of {package.kind}, expected {kind}")
    return package.parameters


def _of_folder(folder: Path) -> dict[str, Tensor]:
    """Parameters of a folder of speechbrain, by the names of modules."""
    found: dict[str, Tensor] = {}
    for file, prefix in _FILES.items():
        parameters = parameters_of(folder / file, read_content(folder / file))
        found |= {prefix + name: value for name, value in parameters.items()}
    return found


def _of_network(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of the network within a Lightning module, or all where there is none."""
    found = {name: value for name, value in parameters.items() if not name.startswith(_TEACHER)}
    if found and all(name.startswith(_NETWORK) for name in found):
        return {name.removeprefix(_NETWORK): value for name, value in found.items()}
    return found


def _renamed(parameters: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in parameters.items():
        value = value.flatten() if name.endswith(_OF_NORMS) else value
        for theirs, ours in names:
            name = re.sub(theirs, ours, name)
        found[name] = value
    return found


def _check_arguments(path: Path, network: nn.Module, arguments: Any) -> None:
    """Refuses what parameters alone do not show."""
    if not isinstance(arguments, dict):
        raise FormatError(str(path), None, f"expected model_args by name, found {type(arguments).__name__}")
    encoder = getattr(network, "encoder", None)
    allowed = dict(_FIXED)
    if isinstance(encoder, nn.Conv1d):
        allowed["stride"] = (encoder.stride[0],)
    for name, values in allowed.items():
        if name in arguments and arguments[name] not in values:
            raise ModelError(
                f"{path} is a checkpoint of another network: its model_args say {name} {arguments[name]!r}, "
                f"expected {values[-1]!r}"
            )
