"""Named configurations that come with the package: ``kaldi_quant/conf/ptq/*.yaml``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig, read_config

FOLDER = Path(__file__).resolve().parent.parent / "conf" / "ptq"

_BY_WIDTH, _WEIGHTS_ONLY = re.compile(r"w(\d+)a(\d+)"), re.compile(r"awq-w(\d+)")


def preset_names() -> list[str]:
    """The names, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_preset(name: str) -> PtqConfig:
    """The configuration of a preset.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in preset_names():
        raise UsageError(f"there is no preset {name!r}; the presets are {', '.join(preset_names())}")
    return read_config(FOLDER / f"{name}.yaml")


def preset_for(bits: int, act_bits: int) -> str:
    """The preset that was tuned for widths, or for the nearest: widths of weights come first.

    An ``act_bits`` of 0, of inputs that stay in float, has no neighbours.
    """
    widths = {}
    for name in preset_names():
        if match := (_BY_WIDTH if act_bits else _WEIGHTS_ONLY).fullmatch(name):
            widths[name] = (int(match[1]), int(match[2]) if act_bits else 0)
    return min(widths, key=lambda name: (abs(widths[name][0] - bits), abs(widths[name][1] - act_bits), name))


def resolve(
    preset: str | None,
    config: str | None,
    bits: int | None,
    act_bits: int | None,
    observer: str | None = None,
    per_channel: bool | None = None,
    engine: str | None = None,
    group_size: int | None = None,
) -> tuple[str | None, PtqConfig]:
    """The configuration that options ask for, and the name of the preset that it comes from, if any.

    Args:
        preset: a preset's name.
        config: a file, instead of a preset.
        bits: width of the weights, instead of the preset's own; layers that it names keep theirs.
        act_bits: width of layers' inputs, likewise.
        observer: how activation ranges are found, likewise.
        per_channel: whether weights have a scale for each output channel, likewise.
        engine: of PyTorch, likewise; only for those that PyTorch quantizes.
        group_size: how many columns of a row of weights share a scale, likewise; 0 for all of them.

    Raises:
        UsageError: an option is wrong, or two exclude each other.
    """
    if preset and config:
        raise UsageError("--preset and --config exclude each other")
    if not preset and not config:
        preset = preset_for(8 if bits is None else bits, 8 if act_bits is None else act_bits)
    chosen = read_config(config) if config else read_preset(str(preset))
    default = chosen.default
    default = replace(
        default,
        bits=default.bits if bits is None else bits,
        act_bits=default.act_bits if act_bits is None else act_bits,
        per_channel=default.per_channel if per_channel is None else per_channel,
        group_size=default.group_size if group_size is None else group_size,
    )
    if engine is not None and chosen.backend != "torch":
        raise UsageError(f"--engine {engine} is for models that PyTorch quantizes, as the presets torch-* do")
    resolved = replace(
        chosen,
        default=default,
        observer=chosen.observer if observer is None else observer,
        engine=chosen.engine if engine is None else engine,
    )
    return preset, resolved
