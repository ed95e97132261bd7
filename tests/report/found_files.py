"""What searches and sensitivity measurements leave, written by hand for a network of few layers."""

import json
from pathlib import Path
from typing import Any

LAYERS = ("tdnn1.affine", "tdnn2.affine", "output.affine")


def search_content(layers: tuple[str, ...] = LAYERS, act_widths: tuple[int, ...] = (4, 8)) -> dict[str, Any]:
    """A search over 2, 4 and 8 bits that chose 4 for all layers and 4 for the first layer's input."""
    costs = [
        {"kind": "weights", "layer": layer, "bits": bits, "estimate": "measured", "divergence": cost * (place + 1)}
        for bits, cost in ((2, 0.1), (4, 0.002))
        for place, layer in enumerate(layers)
    ]
    costs += [
        {"kind": "inputs", "layer": layer, "bits": 4, "estimate": "measured", "divergence": -1e-5} for layer in layers
    ]
    base = {"kind": "base", "layer": "", "bits": 8, "estimate": "measured", "divergence": 0.001}
    chosen = [
        {
            "name": layer,
            "parameters": 100,
            "bits": 4,
            "act_bits": 8,
            "bytes": 60,
            "weight_bits": 400,
            "divergence": 0.002,
        }
        for layer in layers
    ]
    point = {"bits_per_weight": 4.0, "bit_operations": 1e6, "bits": {}, "act_bits": []}
    return {
        "format": 1,
        "budget": {"kind": "bits", "amount": 4.0, "text": "4 bits"},
        "options": {"widths": [2, 4, 8], "act_widths": list(act_widths), "base_bits": 8, "estimate": "measured"},
        "about": {"model": "0123abcd"},
        "measurements": [base, *costs],
        "front": [{**point, "bytes": 100 + 50 * step, "divergence": 0.1 / 4**step} for step in range(5)],
        "base_divergence": 0.001,
        "layers": chosen,
        "inputs": [
            {"layers": [layer], "act_bits": 4 if layer == layers[0] else 8, "divergence": 0.0} for layer in layers
        ],
        "float_layers": {"lda": "it is small"},
        "config": {"default": {"bits": 4}},
        "bit_operations": 1e6,
        "predicted": {"bytes": 200, "divergence": 0.007, "bits_per_weight": 4.0},
        "measured": {"bytes": 201, "divergence": 0.005, "bits_per_weight": 4.0},
        "models": [
            {"bytes": 150, "divergence": 0.02, "chosen": False, "errors": None, "words": None, "wer": None},
            {"bytes": 201, "divergence": 0.005, "chosen": True, "errors": 30, "words": 200, "wer": 15.0},
        ],
    }


def sensitivity_content(layers: tuple[str, ...] = LAYERS, wer: float | None = 15.0) -> dict[str, Any]:
    """Each layer costs 0.01 nats more than the one before it, and leaving it out gains half of that."""
    found: list[dict[str, Any]] = [
        {"mode": "float", "layer": "", "kl": 0.0, "wer": wer},
        {"mode": "all", "layer": "", "kl": 0.06, "wer": wer and wer + 1},
    ]
    for place, layer in enumerate(layers):
        cost = 0.01 * (place + 1)
        found.append({"mode": "alone", "layer": layer, "kl": cost, "wer": wer})
        found.append({"mode": "left out", "layer": layer, "kl": 0.06 - cost / 2, "wer": wer})
    return {"format": 1, "key": "k", "about": {"model": "final.mdl"}, "measurements": found}


def write_json(path: Path, content: object) -> str:
    """Writes a file, and returns its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)
