"""The route ``pt2e``: torchao's quantizer on a graph that ``torch.export`` makes of the network.

The graph is for one length: utterances are calibrated in windows of it. Weights and the ranges of layers' inputs are
what the quantizer finds. Nodes that several layers read have one grid for all, over all the ranges found for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.backends.torch_engines.observers import (
    Prepared,
    activation_observer,
    observed_grid,
    weight_of_integers,
)
from kaldi_quant.backends.torch_engines.plan import Plan
from kaldi_quant.backends.torch_engines.routes import ROUTES, Route
from kaldi_quant.errors import MissingDependencyError, ModelError, UsageError
from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import Chunk, ChunkOptions, cut
from kaldi_quant.nnet3.linear import float_backend
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.nnet3.schedule import Request, Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant.graph import QuantGraph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.quant.slots import set_product

# Kaldi's usual chunk, a few seconds: longer graphs take longer to trace, and find the same.
_WINDOW = 150


class Product(nn.Module):
    """A layer's product as PyTorch would write it.

    Args:
        weight: (out, in) float32, for the input in steps if it has a scale for each column.
        bias: (out,) float32, for the input as it is.
        inputs: the grids of an input that has a scale for each column; None for others.
    """

    def __init__(self, weight: Tensor, bias: Tensor, inputs: InputGrid | None) -> None:
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0])
        self.inputs = inputs
        if inputs is not None:
            bias = bias - weight @ inputs.zero_point.float()
        self.linear.weight, self.linear.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        if self.inputs is not None:
            x = x / self.inputs.scale + self.inputs.zero_point
        return self.linear(x)


class Mark(nn.Module):
    """Leaves a trace in the graph where a node's values are."""

    def forward(self, x: Tensor) -> Tensor:
        """x, copied."""
        return x.clone()


class _Traceable(nn.Module):
    """The network for one request. Its layers and marks are named ``layer0``, ``mark0``, … in the order given."""

    def __init__(self, model: AcousticModel, products: Mapping[str, Product], marked: Sequence[str], chunk: Chunk):
        super().__init__()
        # Before the model, which has them too, so that these are the names that the graph has.
        for i, (name, product) in enumerate(products.items()):
            self.add_module(f"layer{i}", product)
            set_product(model, name, product)
        for i, name in enumerate(marked):
            mark = Mark()
            self.add_module(f"mark{i}", mark)
            model.taps[name] = mark
        self.model = model
        self.program = model.program(Request((chunk.span,), chunk.output_times))

    def forward(self, feats: Tensor, ivector: Tensor | None = None) -> Tensor:
        """feats: (1, frames, columns), ivector: (1, 1, columns) → (1, outputs, pdfs)."""
        inputs = {"input": feats} if ivector is None else {"input": feats, "ivector": ivector}
        kinds = torch.zeros(1, dtype=torch.int64)
        return self.program.run(inputs, kinds, self.model.taps)[self.model.graph.output]


def export(nnet: Nnet, products: Mapping[str, Product], marked: Sequence[str], chunk: Chunk) -> Any:
    """The network's graph for pieces of one length, a ``torch.fx.GraphModule``.

    Args:
        nnet: the float network.
        products: for some layers what takes their product's place.
        marked: nodes to be marked.
        chunk: the piece.

    Raises:
        ModelError: the exporter cannot trace the network.
    """
    model = AcousticModel(nnet)
    traceable = _Traceable(model, products, marked, chunk).eval()
    inputs = [torch.zeros(1, chunk.span[1] - chunk.span[0], model.input_dim)]
    if model.ivector_dim:
        inputs.append(torch.zeros(1, 1, model.ivector_dim))
    try:
        with float_backend("torch"), torch.no_grad():
            return torch.export.export(traceable, tuple(inputs)).module()
    except RuntimeError as error:
        first = next(iter(str(error).splitlines()), "it does not say why")
        raise ModelError(f"{nnet.path}: torch.export cannot trace it: {first}; use the route eager") from error


class Windows(AcousticModel):
    """A graph for one length in the place of an acoustic model: shorter pieces end with their last frame repeated.

    Args:
        nnet: the float network.
        chunk: what the graph is for.
        graph: computes one sequence.
    """

    def __init__(self, nnet: Nnet, chunk: Chunk, graph: Callable[..., Tensor]) -> None:
        super().__init__(nnet)
        self.frames = chunk.span[1] - chunk.span[0]
        self.one = graph

    def outputs(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the output of a batch; arguments and result are those of ``AcousticModel``."""
        missing = self.frames - feats.shape[1]
        feats = torch.cat([feats, feats[:, -1:].expand(-1, missing, -1)], dim=1)
        rows = []
        for i, sequence in enumerate(feats):
            more = () if ivectors is None else (ivectors[i].view(1, 1, -1),)
            rows.append(self.one(sequence.unsqueeze(0), *more))
        return {self.graph.output: torch.cat(rows)[:, : len(output_times)]}


def quantize_pt2e(plan: Plan, data: Data, ranges: Ranges | None = None) -> QuantizedNetwork:
    """Quantizes a network.

    Args:
        plan: what is to be done.
        data: the calibration set.
        ranges: None; only the route eager takes them.

    Raises:
        MissingDependencyError: torchao is not installed.
        UsageError: ranges are given, or are to be found anew at every call.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be exported.
    """
    if ranges is not None:
        raise UsageError("--ranges goes with the route eager: with pt2e, torchao finds ranges and weights together")
    if plan.dynamic:
        raise UsageError(f"ranges: dynamic goes with the route eager, not with pt2e (the layer {plan.dynamic[0]})")
    assert isinstance(data, UtteranceSet)
    return _Quantizer(_without_what_cannot_be_traced(plan), data, torchao_library()).run()


def _without_what_cannot_be_traced(plan: Plan) -> Plan:
    graph, kinds = plan.graph(), layer_kinds(plan.prepared.nodes)
    reasons = {}
    for name in plan.static:
        columns = {graph.is_per_column(node) for node in graph.inputs_of(name)}
        if "recurrent" in kinds[name]:
            reasons[name] = "torch.export unrolls the recurrence that it is part of; the route eager quantizes it"
        elif len(columns) > 1:
            reasons[name] = "torchao has one scale for its input, which needs several; the route eager quantizes it"
    return plan.without(reasons)


class _Quantizer:
    def __init__(self, plan: Plan, data: UtteranceSet, library: Any) -> None:
        self.plan, self.data, self.library = plan, data, library
        self.graph: QuantGraph = plan.graph()
        self.groups = self.graph.groups()
        self.specs = {name: plan.activation_spec(self.graph, group) for group in self.groups for name in group}
        self.places = {name: f"layer{i}" for i, name in enumerate(plan.static)}
        # Terms of sums, which no layer reads.
        self.marked = [name for name in self.specs if name not in self.graph.readers]

    def run(self) -> QuantizedNetwork:
        grids = self._input_grids()
        inputs = {
            name: input_grid(self.plan.prepared, self.graph, name, grids)
            for name in self.plan.static
            if self._reads_columns(name)
        }
        products = {
            name: Product(self.plan.weight(name, inputs.get(name)), self.plan.bias(name), inputs.get(name))
            for name in self.plan.static
        }
        found = self._calibrated(products)
        for group in self.groups:
            if group[0] not in grids:
                grids.update(dict.fromkeys(group, self._grid(group, found)))
        weights = {
            name: weight_of_integers(found[place].weight, found[place].weight_scale, self.plan.layers[name])
            for name, place in self.places.items()
        }
        return self.plan.network(weights, grids, self.plan.inputs_of(self.graph, grids))

    def _reads_columns(self, layer: str) -> bool:
        return any(self.graph.is_per_column(node) for node in self.graph.inputs_of(layer))

    def _input_grids(self) -> dict[str, Grid]:
        """The grids of network inputs that have one for each column."""
        names = [name for name in self.specs if self.graph.is_per_column(name)]
        observers = {
            name: activation_observer(self.library.observers, self.plan.config.observer, self.specs[name])()
            for name in names
        }
        if names:
            model = self.plan.prepared.complete().executable()
            model.taps.update(observers)
            self.data.run(model, "finding the features' ranges")
        return {name: observed_grid(observer, self.specs[name]) for name, observer in observers.items()}

    def _calibrated(self, products: dict[str, Product]) -> dict[str, Any]:
        """What torchao finds for layers and marks."""
        nnet = nnet_of(self.plan.prepared.complete())
        chunk = self._window(AcousticModel(nnet))
        layers = [self.plan.layers[name] for name in products]
        marks = [self.specs[name] for name in self.marked]
        quantizer = self.library.GraphQuantizer(self.plan.config.observer, layers, marks)
        graph = self.library.prepared(export(nnet, products, self.marked, chunk), quantizer)
        options = dataclasses.replace(self.data.options, chunks=self._chunks())
        data = UtteranceSet(self.data.utterances, options, self.data.ivectors, self.data.max_bad_share)
        # Not as a module, which would be switched to test mode: exported graphs refuse that.
        data.run(Windows(nnet, chunk, graph.__call__), "finding activation ranges")
        return self.library.converted(graph)

    def _chunks(self) -> ChunkOptions:
        given = self.data.options.chunks
        return ChunkOptions(
            given.frame_subsampling_factor, _WINDOW, given.extra_left_context, given.extra_right_context
        )

    def _window(self, model: AcousticModel) -> Chunk:
        options = self._chunks()
        longest = _WINDOW * options.frame_subsampling_factor * model.context.modulus
        return cut(longest, model.context, options)[0]

    def _grid(self, group: list[str], found: dict[str, Any]) -> Grid:
        """The grid of nodes that layers read, or that a sum adds."""
        readers = {reader for name in group for reader in self.graph.readers.get(name, [])}
        ranges = [found[self.places[name]] for name in readers]
        ranges += [found[f"mark{i}"] for i, name in enumerate(self.marked) if name in group]
        spec = self.specs[group[0]]
        if len(ranges) == 1:
            scale, zero_point = torch.tensor(ranges[0].scale), torch.tensor(ranges[0].zero_point)
            return Grid(dataclasses.replace(spec, symmetric=not zero_point), scale, zero_point.int())
        low, high = self._covered(spec, ranges)
        return Grid.from_range(dataclasses.replace(spec, symmetric=bool(low == 0)), low, high)

    @staticmethod
    def _covered(spec: Any, ranges: list[Any]) -> tuple[Tensor, Tensor]:
        low = min((spec.qmin - one.zero_point) * one.scale for one in ranges)
        high = max((spec.qmax - one.zero_point) * one.scale for one in ranges)
        return torch.tensor(low), torch.tensor(high)


def prepare_pt2e(plan: Plan, start: QuantizedNetwork) -> Prepared:
    """Puts fake quantization by torchao into a network.

    Args:
        plan: what is to be done; all ranges known beforehand.
        start: what quantization after training made of it.

    Raises:
        MissingDependencyError: torchao is not installed.
    """
    prepared: Prepared = torchao_library().prepared_network(plan, start)
    return prepared


def torchao_library() -> ModuleType:
    """The module that imports torchao."""
    try:
        from kaldi_quant.backends.torch_engines import x86_quantizer
    except ImportError as error:
        raise MissingDependencyError(
            f"the route pt2e needs the package torchao: pip install torchao, "
            f"or use the route eager, which does not need it ({error})"
        ) from error
    return x86_quantizer


ROUTES.add("pt2e")(Route(quantize_pt2e, prepare_pt2e, torchao_library))
