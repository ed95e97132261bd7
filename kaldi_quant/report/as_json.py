"""The comparison as JSON: every number in full, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.files.record import QuantizationRecord
from kaldi_quant.report.kinds.kind import Kind
from kaldi_quant.report.notes import notes
from kaldi_quant.report.verdict import verdicts
from kaldi_quant.report.versus import Versus

FORMAT = 1


def as_json(comparison: Comparison) -> str:
    """An object with ``rows``, the first of which is the reference; what is not known is null."""
    return json.dumps(as_dict(comparison), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """The same before it is written."""
    options, kind = comparison.options, comparison.kind
    return {
        "format": FORMAT,
        "bootstrap": {
            "unit": comparison.unit,
            "units": comparison.units,
            "replications": options.replications,
            "seed": options.seed,
            "utt2spk": options.utt2spk,
        },
        **kind.settings_json(),
        "rows": [_row(row, comparison) for row in comparison.rows],
        **kind.metric_json(comparison.metric),
        "verdicts": {verdict.name: verdict.sentence for verdict in verdicts(comparison)},
        "speed": {name: asdict(speed) for name, speed in (comparison.speeds or {}).items()} or None,
        "notes": notes(comparison),
    }


def _row(row: Row, comparison: Comparison) -> dict[str, Any]:
    folder, kind = row.folder, comparison.kind
    speed = (comparison.speeds or {}).get(row.name)
    return {
        "name": row.name,
        "folder": str(folder.path),
        **kind.folder_json(folder),
        "interval": [row.interval.low, row.interval.high],
        "versus_first": _versus(row.versus, kind) if row.versus else None,
        "bytes": row.size,
        "share_of_float": row.share_of_float,
        "speed": speed.ratio if speed else None,
        "quantization": _quantization(folder.record) if folder.record else None,
    }


def _versus(versus: Versus, kind: Kind[Any]) -> dict[str, Any]:
    paired = versus.paired
    return {
        "difference": paired.difference,
        "interval": [paired.interval.low, paired.interval.high],
        "p_bootstrap": paired.p_value,
        **kind.versus_json(versus),
    }


def _quantization(record: QuantizationRecord) -> dict[str, Any]:
    return {
        **asdict(record),
        "model_file": str(record.model_file) if record.model_file else None,
        "command": list(record.command),
        "float_layers": dict(record.float_layers),
    }
