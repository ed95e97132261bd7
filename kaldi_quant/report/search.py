"""The result of a search for widths, as a table."""

from __future__ import annotations

from typing import Any

from kaldi_quant.quant.search.widths import FLOAT_BITS


def as_text(result: dict[str, Any]) -> str:
    """A line for each layer with its width and its share of the predicted divergence; below what came of it.

    Args:
        result: the content of search.json.
    """
    total = result["predicted"]["divergence"]
    rows = [["# layer", "parameters", "bits", "act bits", "divergence", "share"]]
    for layer in result["layers"]:
        in_float = layer["bits"] == FLOAT_BITS
        widths = ["float", "-"] if in_float else [str(layer["bits"]), str(layer["act_bits"])]
        rows.append([layer["name"], str(layer["parameters"]), *widths, *_share(layer["divergence"], total)])
    for name in result["float_layers"]:
        rows.append([name, "-", "float", "-", "-", "-"])
    if len(result["options"]["act_widths"]) > 1:
        for group in result["inputs"]:
            name = f"what {', '.join(group['layers'])} read{'s' if len(group['layers']) == 1 else ''}"
            rows.append([name, "-", "-", str(group["act_bits"]), *_share(group["divergence"], total)])
    base = f"all in {result['options']['base_bits']} bits"
    rows.append([base, "-", "-", "-", *_share(result["base_divergence"], total)])
    found = [["#", "bytes", "bits per weight", "divergence, nats per frame"]]
    for name in ("predicted", "measured"):
        values = result[name]
        found.append([name, str(values["bytes"]), f"{values['bits_per_weight']:.3f}", f"{values['divergence']:.6f}"])
    ratio = result["ratio"]["divergence"]
    found.append(["ratio", f"{result['ratio']['bytes']:.6f}", "", "-" if ratio is None else f"{ratio:.3f}"])
    work = f"# {result['bit_operations'] / 1e6:.1f} million bit operations per frame\n"
    return f"# budget: {result['budget']['text']}\n" + _aligned(rows) + work + _aligned(found)


def _share(divergence: float, total: float) -> list[str]:
    return [f"{divergence:.6f}", f"{100 * divergence / total:.1f}%" if total > 0 else "-"]


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)
