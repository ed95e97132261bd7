"""What an integer model's file says of itself, told without its network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaldi_quant.formats.container import read_container
from kaldi_quant.formats.fields import Fields


def summary_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Lines of names and values, as ``nnet3-am-info`` writes them.

    Raises:
        FormatError: the file is missing, truncated, was changed after it was written, or is of another format.
    """
    container = read_container(path)
    fields = Fields(container.path, "its description", container.content)
    record = fields.take("record", dict)
    yield f"integer-model: {_kind(container.content)}"
    yield f"preset: {record.get('preset') or 'none'}"
    yield f"made-by: {record.get('code_version', 'unknown')}"
    yield f"bits-per-weight: {record.get('bits_per_weight', 'unknown')}"
    yield f"file-bytes: {Path(path).stat().st_size}"
    yield f"float-bytes: {record.get('float_bytes', 'unknown')}"
    yield f"activation-grids: {len(fields.take('activations', dict))}"
    layers, float_layers = fields.objects("layers"), fields.take("float_layers", dict)
    yield f"quantized-layers: {len(layers)}"
    described = record.get("layers")
    told = [one for one in described if isinstance(one, dict)] if isinstance(described, list) else []
    widths = {str(one.get("name")): one.get("act_bits") for one in told}
    for name, layer in layers.items():
        rows, columns = (*layer.take("shape", list), "?", "?")[:2]
        ranges = "dynamic" if layer.has("dynamic") else "static"
        spec, is_alone = layer.spec("weight"), layer.take("weights_only", bool, False)
        groups = f", group-size={spec.group_size}" if spec.group_size else ""
        of_input = f"input-bits={widths.get(name, 'unknown')}, ranges={ranges}"
        width = f"weight-bits={spec.bits}{groups}, {'weights only' if is_alone else of_input}"
        yield f"layer: name={name}, {width}, rows={rows}, columns={columns}"
    for name, reason in float_layers.items():
        yield f"float-layer: name={name}, {reason}"
    for name, reason in fields.take("float_matmuls", dict, {}).items():
        yield f"float-matmul: name={name}, {reason}"


def _kind(content: dict[str, Any]) -> str:
    for key in ("torch_network", "torch_layers"):
        if isinstance(found := content.get(key), dict):
            return f"torch.nn, {found.get('kind')}"
    return "nnet3"
