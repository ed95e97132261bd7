"""The report as JSON: every number in full, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from kaldi_quant import __version__
from kaldi_quant.report import as_json as comparison_json
from kaldi_quant.report.files.search_file import SearchResult
from kaldi_quant.report.files.sensitivity_file import SensitivityResult
from kaldi_quant.report.pages.contents import Contents
from kaldi_quant.report.pages.front import front

FORMAT = 1


def as_json(contents: Contents) -> str:
    """An object with the parts of the page; what is not there is null or empty."""
    comparison = contents.comparison
    found = {
        "format": FORMAT,
        "version": __version__,
        "command": list(contents.command),
        "comparison": comparison_json.as_dict(comparison) if comparison else None,
        "front": [row.name for row in front(comparison.rows)] if comparison else [],
        "searches": [_search(search) for search in contents.searches],
        "sensitivities": [_sensitivity(sensitivity) for sensitivity in contents.sensitivities],
        "activation_ranges": [asdict(ranges) for ranges in contents.ranges],
        "notes": list(contents.notes),
    }
    return json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _search(search: SearchResult) -> dict[str, Any]:
    costs = {
        kind: [{"layer": layer, "bits": bits, "divergence": cost} for (layer, bits), cost in known.items()]
        for kind, known in (("weight_costs", search.weight_costs), ("input_costs", search.input_costs))
    }
    # asdict would copy the keys of the costs, which JSON cannot have.
    plain = {name: value for name, value in vars(search).items() if name not in costs}
    for name in ("front", "layers", "inputs", "tried"):
        plain[name] = [asdict(entry) for entry in plain[name]]
    for name in ("predicted", "measured"):
        plain[name] = asdict(plain[name])
    return {**plain, "path": str(search.path), "float_layers": dict(search.float_layers), **costs}


def _sensitivity(found: SensitivityResult) -> dict[str, Any]:
    return {**asdict(found), "path": str(found.path)}
