"""The result of a search for widths, as a table."""

from __future__ import annotations

from typing import Any

from kaldi_quant.units import FLOAT_BITS


def as_text(result: dict[str, Any]) -> str:
    """A line for each layer with its width and its share of the predicted divergence; below what came of it, and all
    models that were measured in the same folder.

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
    return f"# budget: {result['budget']['text']}\n" + _aligned(rows) + work + _aligned(found) + _models(result)


def _models(result: dict[str, Any]) -> str:
    """A line for each model; nothing where none but the result was measured, and that was not decoded."""
    models, in_float = result["models"], result["float"]
    if len(models) < 2 and in_float is None:
        return ""
    rows = [["# measured", "bytes", "bits per weight", "divergence", "%WER", "errors", "words"]]
    if in_float is not None:
        rows.append(["float", "-", "-", "-", *_scores(in_float)])
    for model in models:
        name, mean = "chosen" if model["chosen"] else "-", f"{model['bits_per_weight']:.3f}"
        rows.append([name, str(model["bytes"]), mean, f"{model['divergence']:.6f}", *_scores(model)])
    with_inputs = len({bits for model in models for bits in model["act_bits"].values()} - {FLOAT_BITS}) > 1
    told = (f"  {_widths(model, with_inputs)}" for model in models)
    widths = ["  widths", *([""] if in_float is not None else []), *told]
    notes = sorted({f"# {model['note']}\n" for model in models if model["note"]})
    lines = [f"{line}{more}\n" for line, more in zip(_aligned(rows).splitlines(), widths, strict=True)]
    return "".join([*lines, *notes])


def _scores(found: dict[str, Any]) -> list[str]:
    if found["errors"] is None:
        return ["-", "-", "-"]
    return [f"{found['wer']:.2f}", str(found["errors"]), str(found["words"])]


def _widths(model: dict[str, Any], with_inputs: bool) -> str:
    """Of the layers, in their order: of weights, and behind a slash of inputs where models differ in them."""
    words = []
    for name, bits in model["bits"].items():
        inputs = f"/{model['act_bits'][name]}" if with_inputs and bits != FLOAT_BITS else ""
        words.append(f"{'float' if bits == FLOAT_BITS else bits}{inputs}")
    return " ".join(words)


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
