"""What a report is about: results, searches, sensitivities and activation ranges of one recogniser's models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaldi_quant.report.comparison import Comparison, Row
from kaldi_quant.report.files.search_file import SearchResult
from kaldi_quant.report.files.sensitivity_file import SensitivityResult

if TYPE_CHECKING:
    from kaldi_quant.formats.artefact import Artefact
    from kaldi_quant.report.activations import ModelRanges

#: Observes the activations of a model on speech: what is known of its ranges → the same with spreads.
Observe = Callable[["ModelRanges", "Artefact"], "ModelRanges"]


@dataclass(frozen=True)
class Contents:
    """What a report holds.

    Attributes:
        command: that made it.
        comparison: of the decode folders; None without any.
        searches, sensitivities: what was found.
        ranges: of the integer models.
        notes: what is missing, in sentences.
    """

    command: tuple[str, ...] = ()
    comparison: Comparison | None = None
    searches: tuple[SearchResult, ...] = ()
    sensitivities: tuple[SensitivityResult, ...] = ()
    ranges: tuple[ModelRanges, ...] = ()
    notes: tuple[str, ...] = ()


def model_ranges(comparison: Comparison, observe: Observe | None = None) -> tuple[list[ModelRanges], list[str]]:
    """The activation ranges of the integer models of a comparison, and notes on those that have none to show.

    Args:
        comparison: its folders' records name the models.
        observe: observes activations; None for ranges alone.

    Raises:
        KaldiQuantError: a model is malformed, or cannot be run.
    """
    found: list[ModelRanges] = []
    notes = []
    for row in comparison.rows:
        record = row.folder.record
        if record is None or not record.layers:
            continue
        note = _why_without_ranges(row, record.model_file)
        if record.model_file and not note:
            # Imported here: they need torch, which pages about float models do without.
            from kaldi_quant.formats.artefact import load
            from kaldi_quant.report.activations import ranges_of_model

            artefact = load(record.model_file)
            ranges = ranges_of_model(row.name, artefact.network)
            if ranges.nodes:
                found.append(observe(ranges, artefact) if observe else ranges)
            else:
                note = f"{row.name}: no activation ranges, it finds them for each utterance"
        notes += [note] if note else []
    return found, notes


def _why_without_ranges(row: Row, model: Path | None) -> str:
    record = row.folder.record
    assert record is not None
    if model is None:
        return f"{row.name}: no activation ranges, its model {record.model or ''} is gone".replace("  ", " ")
    if record.artefact_bytes is not None and model.stat().st_size != record.artefact_bytes:
        return (
            f"{row.name}: no activation ranges, {model} is not the model that was decoded: it has "
            f"{model.stat().st_size} bytes, and then had {record.artefact_bytes}"
        )
    return ""
