"""The search for widths on either kind of network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kaldi_quant.api.folders import folder_or_none
from kaldi_quant.api.networks import FloatNetwork, KaldiNetwork, TorchNetwork, as_network
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import UsageError
from kaldi_quant.formats.search_files import Artefacts, torch_size
from kaldi_quant.formats.sizes import bits_per_weight
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.features.settings import RECORD_KEY, settings_of_folder
from kaldi_quant.kaldi.frame_subsampling import folder_of
from kaldi_quant.made import program_digest
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.quant.search.cost_model import FileSize, check_size
from kaldi_quant.quant.search.measurements import MeasuredModel, Store
from kaldi_quant.quant.search.options import DEFAULT_WIDTHS, Budget, Estimate, SearchOptions, parse_budget, parse_widths
from kaldi_quant.quant.search.outcome import check_refinement
from kaldi_quant.quant.search.result import Result, run
from kaldi_quant.quant.search.search import Proposal, Search
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.units import Bits, Bytes

# The method that the command's result is quantized by, too.
_PRESET = "w4a8"


@dataclass(frozen=True)
class Point:
    """What widths cost.

    Args:
        bytes: of the file that ``save`` writes.
        distance: mean distance of the output from the float network's.
        bits_per_weight: the mean, layers in float included.
        bits: for each layer the width of its weights; 32 in float.
        act_bits: for each layer the width of its input.
    """

    bytes: Bytes
    distance: float
    bits_per_weight: float
    bits: dict[str, Bits]
    act_bits: dict[str, Bits]


@dataclass(frozen=True)
class FoundWidths:
    """What a search has found.

    Args:
        quantized: the network with these widths, as ``quantize`` would make it with its ``config``.
        predicted: what they were predicted to cost.
        measured: what they cost.
        unit: of distances.
        curve: the predicted trade-off of size and distance, by size, each point the best of its size.
        measured_curve: of the points that were asked for by ``front`` the prediction, and what was measured.
        record: all that was measured, predicted and chosen, as search.json of ``kaldi-quant search``.
    """

    quantized: Quantized
    predicted: Point
    measured: Point
    unit: str
    curve: list[Point]
    measured_curve: list[tuple[Point, Point]]
    record: dict[str, Any]

    @property
    def config(self) -> PtqConfig:
        """The configuration that names every layer's widths, for ``quantize``."""
        return self.quantized.config


def search(
    network: Any,
    config: str | PtqConfig | None = None,
    *,
    budget: str,
    held_out: Any,
    calibration: Any = None,
    widths: Sequence[Bits | str] = DEFAULT_WIDTHS,
    act_widths: Sequence[Bits] = (8,),
    base_bits: Bits = 8,
    estimate: Estimate = "measured",
    method: str = "",
    max_bit_operations: float | None = None,
    front: int = 0,
    memory: Bytes = MEMORY,
    folder: str | Path | None = None,
) -> FoundWidths:
    """Finds the width of each layer that loses least within a size, or the smallest network within a loss.

    As ``kaldi-quant search``: each layer is quantized in each width, all others in ``base_bits``, and the distance from
    float is measured. An integer linear program picks one width for each layer from the sums of these costs. The
    network is quantized with these widths, and its distance is measured.

    Args:
        network: a float network as for ``quantize``, or a quantized one, whose configuration and calibration are taken.
        config: all but the widths: a preset's name, or a configuration; by default the quantized network's, or w4a8.
        budget: ``"3 bits"``, the mean per weight; ``"800 kB"``, ``"1 MB"``, the size of the file that ``save`` writes;
            ``"0.05 nats"``, the mean distance from float, in the unit of the network's ``distance``: ``"0.1 per row"``
            for the squared error.
        held_out: development inputs that distances are measured on, as the network's ``data`` takes them; never test
            data.
        calibration: inputs to calibrate on; for a quantized network by default its own.
        widths: bits of weights to choose from, 2 to 16, and ``"float"`` where layers may stay in float.
        act_widths: bits of layers' inputs to choose from; 0 alone for inputs that stay in float.
        base_bits: the width of the other layers while one is measured.
        estimate: measured, by running the network for each width; second-order, from curvature.
        method: how weights are rounded while measuring; by default as in the result.
        max_bit_operations: products times the bits of both factors, per frame of a Kaldi model, for other networks per
            number of its input; None for no limit.
        front: so many points of the predicted curve are quantized and measured, too.
        memory: what values may take that wait for layers; the others wait on disk.
        folder: where measurements are kept: an interrupted search goes on there, and another budget measures nothing
            again; by default nowhere.

    Raises:
        UsageError: the budget is not understood or cannot be met, or the widths leave nothing to choose.
        DataError: inputs cannot be used, or the folder holds something else.
        ModelError: the network cannot be run, has no layer that can be quantized, or a distance that files cannot name.

    Source: Z. Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021.

    Example:
        >>> found = search(network, budget="3 bits", calibration=inputs, held_out=others)
        >>> found.measured.bits, found.measured.distance, found.quantized
    """
    options = SearchOptions(
        parse_widths(",".join(map(str, widths)), "widths", with_float=True),
        parse_widths(",".join(map(str, act_widths)), "act_widths", with_none=True),
        base_bits,
        estimate,
        method,
        max_bit_operations,
    )
    origin, chosen, data = _asked(network, config, calibration)
    options.measuring(chosen)
    source = origin.source(data)
    wanted = _budget(budget, source, chosen)
    options.check(wanted)
    check_refinement(wanted, 0, front, scored=False)
    measured_on, size = origin.data(held_out), _file_size(origin)
    check_size(wanted, options, chosen, source, size)
    about = {
        "network": source.digest(),
        "configuration": {**options.measuring(chosen).as_dict(), "description": ""},
        "base": asdict(options.base),
        "calibration set": data.digest(),
        "development set": measured_on.digest(),
        "program": program_digest(),
    }
    with folder_or_none(folder) as place:
        store = Store(place / "measurements.json", about)
        found = run(Search(source, chosen, data, measured_on, store, options, size, memory), wanted, size, front=front)
    return _found(found, origin, data)


def _asked(network: Any, config: str | PtqConfig | None, calibration: Any) -> tuple[FloatNetwork, PtqConfig, Data]:
    """The float network, all but the widths, and the calibration set."""
    start = network if isinstance(network, Quantized) else None
    origin = start.origin if start else as_network(network)
    # One that was read from a file has no float weights, whatever it is calibrated on.
    known = start.calibrated("search") if start else None
    if calibration is None and known is None:
        raise UsageError("a float network needs inputs to calibrate on: give calibration")
    data = known if known is not None and calibration is None else origin.data(calibration)
    if config is None:
        config = start.config if start else _PRESET
    return origin, read_preset(config) if isinstance(config, str) else config, data


def _budget(text: str, source: Source, config: PtqConfig) -> Budget:
    budget = parse_budget(text, source.prepare(config.folds).distance.unit)
    if budget.kind == "wer":
        raise UsageError(f"a budget of {text} needs a decoder: kaldi-quant search has one")
    return budget


def _file_size(origin: FloatNetwork) -> FileSize:
    """Tells the size of the file that ``save`` writes of a quantized network."""
    if isinstance(origin, KaldiNetwork):
        model = origin.model
        settings = origin.settings or settings_of_folder(folder_of(model.path)).for_dim(model.nnet.node_dim("input"))
        companions = Companions.beside(model.path, origin.factor)
        return Artefacts(model, companions, "", {RECORD_KEY: settings.as_dict()}).size
    if isinstance(origin, TorchNetwork):
        return partial(torch_size, more={"output": origin.output, "columns": origin.columns})
    raise UsageError(f"a {type(origin).__name__} has no file whose size could be told")


def _found(result: Result, origin: FloatNetwork, data: Data) -> FoundWidths:
    outcome, search = result.outcome, result.models.search
    quantized = Quantized(outcome.network, origin, outcome.proposal.config, data)
    record = result.as_dict(bits_per_weight(outcome.network))
    groups = [group.layers for group in search.cost_model.problem.groups]

    def predicted(proposal: Proposal) -> Point:
        layers = proposal.allocation.layers
        bits = {name: option.bits for name, option in layers.items()}
        act_bits = {name: option.act_bits for name, option in layers.items()}
        return Point(proposal.bytes, proposal.divergence, proposal.bits, bits, act_bits)

    def measured(model: MeasuredModel, size: Bytes) -> Point:
        mean = search.cost_model.mean_width(model.bits, model.act_bits)
        return Point(size, model.divergence, mean, model.bits, model.act_bits)

    curve = [
        Point(
            entry["bytes"],
            entry["divergence"],
            entry["bits_per_weight"],
            entry["bits"],
            {name: bits for names, bits in zip(groups, entry["act_bits"], strict=True) for name in names},
        )
        for entry in record["front"]
    ]
    return FoundWidths(
        quantized,
        predicted(outcome.proposal),
        measured(outcome.model, outcome.bytes),
        search.meter.host.distance.unit,
        curve,
        [(predicted(point), measured(model, model.bytes)) for point, model in result.front],
        record,
    )
