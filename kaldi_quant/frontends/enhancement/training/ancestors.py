"""Parameters as MBQAT's programs name them, by the names that they have here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from kaldi_quant.errors import ModelError

# Of CRN: its layers have numbers from 1, those of the decoder count down.
_ENCODER = re.compile(r"(conv|bn)([1-9])\.(.+)")
_DECODER = re.compile(r"(conv|bn)([1-9])_t\.(.+)")
# Of TCN: what lies in ``net`` is each block's convolutions once more.
_BLOCK = re.compile(r"tcn\.network\.(\d+)\.(conv[12]|downsample)\.(.+)")
_TWICE = re.compile(r"tcn\.network\.\d+\.net\.")
_PARALLEL = "module."
_LEARNED = ("activation_quantizer.", "weight_quantizer.")
_WIDE_LSTM = 1024


def of_mbqat(path: Path, parameters: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The network that parameters belong to, and these by their names here.

    Weights that are normalized (``weight_g``, ``weight_v``) are multiplied out.

    Args:
        path: of the file, for messages.
        parameters: by the names of CRN_original, CRN_100k or the TCN.

    Raises:
        ModelError: they are of another network, or of one with learned scales.
    """
    found = {name.removeprefix(_PARALLEL): value for name, value in parameters.items()}
    for name in found:
        if any(part in name for part in _LEARNED):
            raise ModelError(f"{path} holds a network with scales of quantization ({name}): expected a float network")
    if any(name.startswith("tcn.") for name in found):
        return "tcn-100k", _tcn(found)
    hidden = found.get("lstm.weight_hh_l0")
    if hidden is None:
        raise ModelError(
            f"{path} does not say of which network it is, and its names are not those of MBQAT's CRN or TCN"
        )
    return "crn" if hidden.shape[-1] == _WIDE_LSTM else "crn-100k", _crn(found)


def _crn(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    depth = max((int(found[2]) for name in parameters if (found := _ENCODER.fullmatch(name))), default=0)
    result = {}
    for name, value in parameters.items():
        if found := _ENCODER.fullmatch(name):
            part, place = "encoder", int(found[2]) - 1
        elif found := _DECODER.fullmatch(name):
            part, place = "decoder", depth - int(found[2])
        else:
            result[name] = value
            continue
        result[f"{part}{'_norm' if found[1] == 'bn' else ''}.{place}.{found[3]}"] = value
    return result


def _tcn(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    result = {}
    for name, value in parameters.items():
        if _TWICE.match(name):
            continue
        if found := _BLOCK.fullmatch(name):
            layer = "around" if found[2] == "downsample" else found[2]
            name = f"blocks.{found[1]}.{layer}.{found[3]}"
        elif name.startswith("out."):
            name = f"linear.{name.removeprefix('out.')}"
        result[name] = value
    for name in [name for name in result if name.endswith(".weight_v")]:
        layer = name.removesuffix("_v")
        if f"{layer}_g" in result:
            result[layer] = torch._weight_norm(result.pop(name), result.pop(f"{layer}_g"), 0)
    return result
