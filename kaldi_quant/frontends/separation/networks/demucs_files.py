"""Checkpoints of demucs: a class, how it was called, and its parameters (``klass``, ``args``, ``kwargs``, ``state``).

The file names code, the network's class first of all. It is read without that code: things that do nothing stand in
its place, for names that such files are known to have; of any other name the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from kaldi_quant.errors import FormatError, ModelError
from kaldi_quant.frontends.separation.networks.known import STEMS

#: Classes of demucs, and the networks that they are here.
CLASSES = {"demucs.htdemucs.HTDemucs": "htdemucs", "demucs.tasnet.ConvTasNet": "conv-tasnet-music"}
# What stands in options beside plain values: lengths of segments, and options of the command that trained.
_OTHERS = ("fractions.Fraction", "argparse.Namespace", "pathlib.Path", "pathlib.PosixPath")
_PLAIN = (bool, int, float, str, list, tuple, type(None))
# Of diffq, which stores parameters as integers.
_QUANTIZED = "__quantized"
# Of demucs, where nothing is said.
_HEADS = 8
#: Options that parameters do not show, and what they must be; the first is what demucs has where nothing is said.
_FIXED: dict[str, dict[str, tuple[Any, ...]]] = {
    "htdemucs": {
        "cac": (True,),
        "rewrite": (True,),
        "multi_freqs": (None, []),
        "channels_time": (None,),
        "freq_emb": (0.2,),
        "emb_scale": (10,),
        "context_enc": (0,),
        "norm_starts": (4,),
        "t_emb": ("sin",),
        "t_max_period": (10000.0,),
        "t_norm_in": (True,),
        "t_norm_in_group": (False,),
        "t_group_norm": (False,),
        "t_norm_first": (True,),
        "t_norm_out": (True,),
        "t_weight_pos_embed": (1.0,),
        "t_layer_scale": (True,),
        "t_gelu": (True,),
        "t_sparse_self_attn": (False,),
        "t_sparse_cross_attn": (False,),
        "t_cross_first": (False,),
        "samplerate": (44100,),
    },
    "conv-tasnet-music": {
        "norm_type": ("gLN",),
        "causal": (False,),
        "mask_nonlinear": ("relu",),
        "samplerate": (44100,),
    },
}


@dataclass(frozen=True)
class DemucsFile:
    """What a file of demucs holds.

    Args:
        path: of it.
        kind: of its network, a name of ``NETWORKS``.
        options: that its class was called with, by name.
        parameters: by demucs's names.
    """

    path: Path
    kind: str
    options: Mapping[str, Any]
    parameters: Mapping[str, Tensor]

    def check(self, network: nn.Module) -> None:
        """Refuses what parameters do not show, and the networks here do not have.

        Args:
            network: that is to have the parameters.

        Raises:
            ModelError: there is such.
        """
        sources = self.options.get("sources", list(STEMS))
        if sources not in (list(STEMS), STEMS):
            raise ModelError(f"{self.path} separates {sources!r}, expected {', '.join(STEMS)}")
        heads = [module.num_heads for module in network.modules() if isinstance(module, nn.MultiheadAttention)]
        expected = {**_FIXED[self.kind], **({"t_heads": (heads[0],)} if heads else {})}
        for name, allowed in expected.items():
            found = self.options.get(name, _HEADS if name == "t_heads" else allowed[0])
            if found not in allowed:
                raise ModelError(
                    f"{self.path} is a checkpoint of another network: its {name} is {found!r}, expected {allowed[0]!r}"
                )


def read_demucs(path: Path) -> DemucsFile | None:
    """The content of a file of demucs; None for other files.

    Raises:
        FormatError: it names a class that is no network here, or other code, or is damaged.
        ModelError: its parameters are stored as integers.
    """
    if not path.is_file():
        return None
    stand_ins = {name: type(name.rpartition(".")[2], (_StandIn,), {"of": name}) for name in (*CLASSES, *_OTHERS)}
    try:
        names = get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # noqa: BLE001 - whatever is wrong with a file, who reads it as a checkpoint says so
        return None
    code = sorted(name for name in names if name not in stand_ins)
    if not any(name.startswith("demucs.") for name in names):
        return None
    if code:
        raise FormatError(
            str(path),
            None,
            f"it names {code[0]}, which is code that is not executed; if you trust it, save its parameters alone "
            "where demucs is installed: torch.save(torch.load(path, weights_only=False)['state'], 'state.pt')",
        )
    try:
        with safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
        kind, state = CLASSES[content["klass"].of], content["state"]
        given = {**dict(zip(["sources"], content["args"], strict=False)), **content["kwargs"]}
    except Exception as error:
        raise FormatError(str(path), None, "it is no checkpoint as demucs writes it") from error
    if not isinstance(state, dict) or _QUANTIZED in state:
        raise ModelError(f"{path}: its parameters are stored as integers (diffq): save them in float with demucs")
    parameters = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    options = {str(name): value for name, value in given.items() if isinstance(value, _PLAIN)}
    return DemucsFile(path, kind, options, parameters)


def sizes_of(path: Path, kind: str, parameters: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``Kind.build`` must be called with for a network of such parameters.

    Args:
        path: of the file, for messages.
        kind: ``htdemucs`` or ``conv-tasnet-music``.
        parameters: by the network's names.
        options: that demucs's class was called with; the heads of attention are not seen in parameters.

    Raises:
        ModelError: parameters that tell sizes are not there, or not of their shape.
    """
    shapes = {name: tuple(value.shape) for name, value in parameters.items()}
    try:
        return _sizes_of_htdemucs(shapes, options) if kind == "htdemucs" else _sizes_of_tasnet(shapes)
    except (LookupError, ValueError, StopIteration, ZeroDivisionError) as error:
        raise ModelError(
            f"{path} is a checkpoint of another network: its parameters are not those of {kind}"
        ) from error


def _sizes_of_htdemucs(shapes: Mapping[str, tuple[int, ...]], options: Mapping[str, Any]) -> dict[str, Any]:
    depth = _count(shapes, r"encoder\.(\d+)\.")
    channels, _, kernel, _ = shapes["encoder.0.conv.weight"]
    audio = shapes["tencoder.0.conv.weight"][1]
    branch = next(name for name in shapes if re.match(r"(en|de)coder\.\d+\.dconv\.layers\.0\.0\.weight", name))
    hidden, width, _ = shapes[branch]
    inner, wide = shapes["crosstransformer.layers.0.linear2.weight"]
    return {
        "sources": shapes[f"tdecoder.{depth - 1}.conv_tr.weight"][1] // audio,
        "audio_channels": audio,
        "channels": channels,
        "growth": shapes["encoder.1.conv.weight"][0] // channels,
        "nfft": shapes["freq_emb.embedding.weight"][0] * kernel,
        "depth": depth,
        "kernel_size": kernel,
        "stride": kernel // 2,
        "context": shapes["decoder.0.rewrite.weight"][2] // 2,
        "dconv_mode": sum(half for half, name in ((1, "encoder"), (2, "decoder")) if f"{name}.0.dconv" in str(shapes)),
        "dconv_depth": _count(shapes, re.escape(branch.partition(".layers.")[0]) + r"\.layers\.(\d+)\."),
        "dconv_comp": width / hidden,
        "bottom_channels": shapes.get("channel_upsampler.weight", (0,))[0],
        "t_layers": _count(shapes, r"crosstransformer\.layers\.(\d+)\."),
        "t_heads": int(options.get("t_heads", _HEADS)),
        "t_hidden_scale": wide / inner,
    }


def _sizes_of_tasnet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    filters, channels, window = shapes["encoder.weight"]
    block = "separator.network.2.0.0.net."
    return {
        "sources": shapes["separator.network.3.weight"][0] // filters,
        "channels": channels,
        "filters": filters,
        "window": window,
        "bottleneck": shapes["separator.network.1.weight"][0],
        "hidden": shapes[f"{block}0.weight"][0],
        "kernel": shapes[f"{block}3.net.0.weight"][2],
        "blocks": _count(shapes, r"separator\.network\.2\.0\.(\d+)\."),
        "repeats": _count(shapes, r"separator\.network\.2\.(\d+)\."),
    }


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """How many numbers names begin with, as a regular expression shows."""
    return len({found[1] for name in shapes if (found := re.match(pattern, name))})


class _StandIn:
    """In the place of code: takes whatever it is called with, and does nothing."""

    of: str

    def __new__(cls, *_: Any, **__: Any) -> _StandIn:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass
