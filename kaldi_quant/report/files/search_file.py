"""``search.json`` as ``kaldi-quant search`` writes it: what was measured, the predicted front, and what was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaldi_quant.json_file import JsonObject, read_result
from kaldi_quant.report.files.record import float_layers
from kaldi_quant.units import FLOAT_BITS, Bits, Nats

FILE_NAME = "search.json"
FORMAT = 1


@dataclass(frozen=True)
class Cost:
    """What a model takes and loses.

    Attributes:
        bytes: of its file.
        divergence: from float, nats per frame.
        bits_per_weight: mean over all weights.
    """

    bytes: int
    divergence: Nats
    bits_per_weight: float


@dataclass(frozen=True)
class LayerChoice:
    """What was chosen for a layer.

    Attributes:
        name: of its component.
        parameters: how many weights it has.
        bits: of its weights; FLOAT_BITS in float.
        act_bits: of its input.
        bytes: that it takes.
        divergence: that its weights are predicted to add, nats per frame.
    """

    name: str
    parameters: int
    bits: Bits
    act_bits: Bits
    bytes: int
    divergence: Nats


@dataclass(frozen=True)
class InputChoice:
    """What was chosen for layers that read the same activations.

    Attributes:
        layers: their names.
        act_bits: of these activations.
        divergence: that they are predicted to add, nats per frame.
    """

    layers: tuple[str, ...]
    act_bits: Bits
    divergence: Nats


@dataclass(frozen=True)
class TriedModel:
    """A model that was really quantized, and what it is like on development data.

    Attributes:
        bytes: of its file.
        divergence: from float, nats per frame.
        is_chosen: whether it is the result.
        errors, words: of its words, where it was decoded.
    """

    bytes: int
    divergence: Nats
    is_chosen: bool
    errors: int | None = None
    words: int | None = None

    @property
    def percent(self) -> float | None:
        """The word error rate; None where it was not decoded."""
        return 100.0 * self.errors / self.words if self.errors is not None and self.words else None


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        name: what the page calls it.
        path: the file.
        budget: as its user wrote it.
        widths, act_widths: that layers could have.
        base_bits: the width of the layers that were not being measured.
        base_divergence: of all layers in that width.
        estimate: how divergences were found: "measured" or "second-order".
        weight_costs, input_costs: (layer, or first of the layers that share their input; width) → nats per frame more
            than the base; none for the base's own widths.
        front: what is predicted for allocations of least divergence, by ascending size.
        layers, inputs: the allocation that was chosen.
        float_layers: layer → why it was in float anyway.
        bit_operations: per frame, of all layers.
        predicted, measured: the chosen allocation.
        tried: all models that were quantized and measured in the same folder, where the file tells.
        about: what the measurements depend on, as written.
        config: the chosen configuration, as written.
    """

    name: str
    path: Path
    budget: str
    widths: tuple[Bits, ...]
    act_widths: tuple[Bits, ...]
    base_bits: Bits
    base_divergence: Nats
    estimate: str
    weight_costs: dict[tuple[str, Bits], Nats]
    input_costs: dict[tuple[str, Bits], Nats]
    front: tuple[Cost, ...]
    layers: tuple[LayerChoice, ...]
    inputs: tuple[InputChoice, ...]
    float_layers: tuple[tuple[str, str], ...]
    bit_operations: float
    predicted: Cost
    measured: Cost
    tried: tuple[TriedModel, ...]
    about: dict[str, Any]
    config: dict[str, Any]


def read_search(argument: str) -> SearchResult:
    """Reads what a search found.

    Args:
        argument: its folder, or the file.

    Raises:
        DataError: there is no such file.
        FormatError: it is truncated or something else; names the key.
    """
    found = read_result(argument, FILE_NAME, FORMAT, "search")
    options = found.inner("options")
    measurements = found.objects("measurements")
    return SearchResult(
        name=found.path.absolute().parent.name,
        path=found.path,
        budget=found.inner("budget").text("text"),
        widths=_widths(options, "widths"),
        act_widths=_widths(options, "act_widths"),
        base_bits=options.whole("base_bits"),
        base_divergence=found.real("base_divergence"),
        estimate=options.text("estimate"),
        weight_costs=_costs(measurements, "weights"),
        input_costs=_costs(measurements, "inputs"),
        front=tuple(map(_cost, found.objects("front"))),
        layers=tuple(_layer(entry) for entry in found.objects("layers")),
        inputs=tuple(_input(entry) for entry in found.objects("inputs")),
        float_layers=float_layers(found),
        bit_operations=found.number("bit_operations"),
        predicted=_cost(found.inner("predicted")),
        measured=_cost(found.inner("measured")),
        tried=tuple(map(_tried, found.maybe(found.objects, "models") or [])),
        about=found.dict_of("about"),
        config=found.dict_of("config"),
    )


def width_name(bits: Bits) -> str:
    """A width in a word."""
    return "float" if bits == FLOAT_BITS else str(bits)


def _widths(options: JsonObject, key: str) -> tuple[Bits, ...]:
    return tuple(options.list_of(key, int, "a list of whole numbers"))


def _costs(measurements: list[JsonObject], kind: str) -> dict[tuple[str, Bits], Nats]:
    wanted = [entry for entry in measurements if entry.text("kind") == kind]
    return {(entry.text("layer"), entry.whole("bits")): entry.real("divergence") for entry in wanted}


def _cost(entry: JsonObject) -> Cost:
    return Cost(entry.whole("bytes"), entry.real("divergence"), entry.number("bits_per_weight"))


def _tried(entry: JsonObject) -> TriedModel:
    counts = (entry.maybe(entry.whole, name) for name in ("errors", "words"))
    return TriedModel(entry.whole("bytes"), entry.real("divergence"), entry.flag("chosen"), *counts)


def _layer(entry: JsonObject) -> LayerChoice:
    return LayerChoice(
        entry.text("name"),
        entry.whole("parameters"),
        entry.whole("bits"),
        entry.whole("act_bits"),
        entry.whole("bytes"),
        entry.real("divergence"),
    )


def _input(entry: JsonObject) -> InputChoice:
    layers = entry.list_of("layers", str, "a list of names of layers")
    if not layers:
        entry.refuse("layers", "a list of names of layers")
    return InputChoice(tuple(layers), entry.whole("act_bits"), entry.real("divergence"))
