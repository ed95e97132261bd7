"""Small folders with scores.json, as enhancement, separation and keywords leave them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kaldi_quant.metrics.known import SI_SDR
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.score_file import write_score


def values(loss: float = 0.0, spread: float = 0.0, seed: int = 0, number: int = 200) -> dict[str, float]:
    """Of utterances that are hard or easy for all systems; a system loses something, in each utterance more or less."""
    hard = np.random.default_rng(99).normal(14, 4, number)
    own = np.random.default_rng(seed).normal(loss, spread, number)
    return {f"p232_{place:03}": value for place, value in enumerate((hard - own).tolist())}


def write_scores(
    folder: Path,
    per_unit: Mapping[str, float],
    metric: Metric = SI_SDR,
    out_of: Mapping[str, float] | None = None,
    record: object = None,
    units_are: str = "utterances",
) -> str:
    """Writes a folder, with quantization.json where there is a record, and returns its name."""
    write_score(folder, Score(metric, per_unit, out_of, units_are))
    if record is not None:
        (folder / "quantization.json").write_text(json.dumps(record))
    return str(folder)
