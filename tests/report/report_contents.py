"""A report with all parts, whose names are given; quick to make."""

from dataclasses import replace
from pathlib import Path

from kaldi_quant.report.activations import ModelRanges, NodeRange, Spread
from kaldi_quant.report.comparison import ComparisonOptions, compare
from kaldi_quant.report.files.search_file import read_search
from kaldi_quant.report.files.sensitivity_file import read_sensitivity
from kaldi_quant.report.pages.contents import Contents
from kaldi_quant.speed import Speed
from tests.report.decode_folders import disturbed, real, write_folder
from tests.report.found_files import search_content, sensitivity_content, write_json

QUICK = ComparisonOptions(replications=200)


def ranges(name: str, node: str, seconds: float | None = 12.0) -> ModelRanges:
    """Of an input with forty grids, and of a node with one, whose greatest value is far out."""
    spreads = (
        Spread((-9.0, -5.0, 0.1, 5.0, 8.0), (-0.05, 0.2, 0.5, 0.8, 1.1), 0.0002, 4000),
        Spread((0.0, 0.0, 0.0, 2.0, 90.0), (0.0, 0.0, 0.0, 0.4, 18.0), 0.000001, 4000),
    )
    nodes = (NodeRange("input", 8, -8.0, 7.5, 40, spreads[0]), NodeRange(node, 6, 0.0, 5.0, 1, spreads[1]))
    if seconds is None:
        nodes = (replace(nodes[0], spread=None), replace(nodes[1], spread=None))
    return ModelRanges(name, nodes, seconds)


def full_contents(base: Path, model: str, layers: tuple[str, ...]) -> Contents:
    """Three models, two searches, one sensitivity, activation ranges and speed.

    Args:
        base: a folder that things are written to.
        model: the name of the second model.
        layers: of the network.
    """
    references, first = (dict(list(transcripts.items())[:80]) for transcripts in real())
    record = {
        "float_bytes": 3000,
        "bits_per_weight": 4.0,
        "layers": [
            {"name": layer, "bits": 4, "act_bits": 8, "sqnr_db": 20.0 + place} for place, layer in enumerate(layers)
        ],
    }
    arguments = []
    for name, share, size in (("float", 0.0, 3000), (model, 0.02, 400), ("w8", 0.03, 800)):
        hypotheses = disturbed(first, share, 1)
        folder = write_folder(
            base / f"decode{size}", references, {"16_1.0": hypotheses}, {**record, "artefact_bytes": size}
        )
        arguments.append(f"{name}={folder}")
    speeds = {"float": Speed(10, 1, 1, 1), model: Speed(30, 3, 2.9, 3.2)}
    search = read_search(write_json(base / model.replace("/", "") / "search.json", search_content(layers)))
    sensitivity = read_sensitivity(write_json(base / "alone/sensitivity.json", sensitivity_content(layers)))
    return Contents(
        ("kaldi-quant", "report", model),
        replace(compare(arguments, QUICK), speeds=speeds),
        (search, search),
        (sensitivity,),
        (ranges(model, layers[0]), ranges("w8", layers[0])),
        (f"{model}: gone",),
    )
