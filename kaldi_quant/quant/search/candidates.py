"""Candidates: networks that differ from a base in one width.

Layers are fitted to the float network's inputs, each for itself: none depends on the widths of the others. So what they
read is looked at once, for all widths.

Source of the idea, one layer changed at a time and the changes' costs added: Y. Cai et al., "ZeroQ: A Novel Zero Shot
Quantization Framework", CVPR 2020 (sensitivity by Kullback-Leibler divergence).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.calibration import InputStatistics, input_statistics
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import Data, Host, Source
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.observers import Observer
from kaldi_quant.quant.paired_moments import PairedSample, see_rows_on_grid
from kaldi_quant.quant.ptq import Quantizer, kinds_of, quantize
from kaldi_quant.quant.quantized_layer import QuantizedLayer, factor_of
from kaldi_quant.quant.search.options import FLOAT_BITS, Widths, with_widths
from kaldi_quant.quant.sensitivity import without
from kaldi_quant.quant.weight_rounding import Fit, needs_rows, on_grid
from kaldi_quant.units import Bits

# The nodes that share a grid, and whether it has a scale for each column.
_Groups = tuple[tuple[tuple[str, ...], bool], ...]


class Candidates:
    """The networks.

    Args:
        source: the float network.
        config: all but the widths; it is not fitted sequentially here.
        calibration: the calibration set.
        base: the widths of all layers but those in question.

    Raises:
        UsageError: the configuration is one of PyTorch's, or no layer can be quantized.
        DataError: the calibration set cannot be used.
    """

    def __init__(self, source: Source, config: PtqConfig, calibration: Data, base: Widths) -> None:
        if config.backend != "kaldi_quant":
            raise UsageError("the presets torch-* have 8 bits only: there are no widths to choose from")
        if config.default.weights_only and base.act_bits:
            raise UsageError("the configuration leaves inputs in float: choose widths of weights alone, --act-widths 0")
        self.config = replace(config, sequential=False)
        self.calibration, self.base_widths = calibration, base
        self.kinds = kinds_of(source, config)
        self.base = quantize(source, self._uniform(base), calibration)
        if not self.base.layers:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.base.float_layers.items())
            raise UsageError(f"no layer can be quantized, so there are no widths to choose from ({reasons or 'none'})")
        #: The layers that read the same grids, so that their inputs have one width.
        self.input_groups = input_groups(self.base)
        self._quantizers: dict[Widths, Quantizer] = {}
        self._observers: dict[_Groups, Mapping[str, Observer]] = {}
        self._grids: dict[Bits, dict[str, Grid]] = {}
        # What layers are fitted to, and the latest of them with rows of its inputs, which have a width.
        self._fits: dict[str, Fit] = {}
        self._latest: tuple[tuple[str, Bits], Fit] | None = None

    def with_weights(self, layer: str, bits: Bits) -> QuantizedNetwork:
        """The base with the weights of one layer in another width, or the layer in float."""
        if bits == FLOAT_BITS:
            return without(self.base, layer)
        widths = replace(self.base_widths, bits=bits)
        return replace(self.base, layers={**self.base.layers, layer: self._layer(layer, widths, self.base.activations)})

    def with_inputs(self, group: tuple[str, ...], act_bits: Bits) -> QuantizedNetwork:
        """The base with what some layers read, of ``input_groups``, in another width."""
        widths = replace(self.base_widths, act_bits=act_bits)
        layers = {name: self._layer(name, widths, self._grids_in(act_bits)) for name in group}
        return replace(self.on_grids(group, act_bits), layers={**self.base.layers, **layers})

    def on_grids(self, group: tuple[str, ...], act_bits: Bits) -> QuantizedNetwork:
        """As ``with_inputs``, but with weights that are not fitted to it."""
        widths = replace(self.base_widths, act_bits=act_bits)
        layers = {
            name: replace(layer, spec=self._quantizer(widths).configs[name].activation_spec(signed=True))
            for name, layer in self.base.layers.items()
            if name in group and isinstance(layer, DynamicLinear)
        }
        graph, grids = self.base.graph, self._grids_in(act_bits)
        read = {node for name in group if name in graph.layers for node in graph.inputs_of(name)}
        shared = {node for nodes in graph.groups() if read & set(nodes) for node in nodes}
        activations = {node: grids[node] if node in shared else grid for node, grid in self.base.activations.items()}
        return replace(self.base, layers={**self.base.layers, **layers}, activations=activations)

    def forget(self) -> None:
        """Forgets all that candidates are made of; others are made of it anew."""
        for known in (self._quantizers, self._observers, self._grids, self._fits):
            known.clear()
        self._latest = None
        for name in ("_prepared", "_statistics"):
            self.__dict__.pop(name, None)

    def _uniform(self, widths: Widths) -> PtqConfig:
        return with_widths(self.config, self.kinds, dict.fromkeys(self.kinds, widths))

    def _layer(self, name: str, widths: Widths, activations: Mapping[str, Grid]) -> QuantizedLayer:
        """A layer in other widths, the nodes that it reads on some grids."""
        quantizer = self._quantizer(widths)
        inputs, key = quantizer.inputs_of(name, activations), (name, widths.act_bits)
        if self._latest is None or self._latest[0] != key:
            self._latest = (key, self._fit(quantizer, name, inputs))
        return quantizer.layer(name, self._prepared.weight(name).double(), inputs, self._latest[1])

    def _fit(self, quantizer: Quantizer, name: str, inputs: InputGrid | None) -> Fit:
        if name not in self._fits:
            # One matrix makes room for the other.
            seen = self._statistics.pop(name)
            self._fits[name] = Fit(self._prepared.weight(name).double(), seen.covariance, seen.mean, seen.mean)
        fit = self._fits[name]
        sample = PairedSample() if needs_rows(quantizer.configs[name]) else None
        if sample is not None:
            model = self._prepared.complete().executable()
            see_rows_on_grid(model, name, self.calibration, on_grid(inputs), sample.add)
        # What is made of the matrix for one width and kept for the next goes with this view of it.
        return replace(fit, covariance=fit.covariance.view(fit.covariance.shape), sample=sample)

    @cached_property
    def _prepared(self) -> Host:
        """Rescaled channels stay as they are in the base: layers of different widths must fit together."""
        return self.base.host.prepare(self.config.folds)

    @cached_property
    def _statistics(self) -> dict[str, InputStatistics]:
        """Of what layers read, as long as nothing is fitted to it."""
        return input_statistics(self._prepared.complete().executable(), self.base.layers, self.calibration, outer=True)

    def _quantizer(self, widths: Widths) -> Quantizer:
        if widths not in self._quantizers:
            config = replace(self._uniform(widths), equalization="none")
            factors = {name: factor_of(layer) for name, layer in self.base.layers.items()}
            known = {name: factor for name, factor in factors.items() if factor is not None}
            self._quantizers[widths] = Quantizer(self._prepared, config, self.calibration, factors=known)
        return self._quantizers[widths]

    def _grids_in(self, act_bits: Bits) -> dict[str, Grid]:
        """The grids of nodes where all inputs have one width."""
        if act_bits not in self._grids:
            quantizer = self._quantizer(replace(self.base_widths, act_bits=act_bits))
            graph = quantizer.graph
            groups = tuple((tuple(names), graph.is_per_column(names[0])) for names in graph.groups())
            if groups not in self._observers:
                self._observers[groups] = quantizer.observers()
            self._grids[act_bits] = quantizer.grids_of(self._observers[groups])
        return self._grids[act_bits]


def input_groups(network: QuantizedNetwork) -> list[tuple[str, ...]]:
    """The layers of a network, those together whose inputs lie on grids that they share."""
    graph = network.graph
    number = {node: position for position, nodes in enumerate(graph.groups()) for node in nodes}
    found: list[tuple[set[int], list[str]]] = []
    for name in network.layers:
        grids = {number[node] for node in graph.inputs_of(name)} if name in graph.layers else set()
        together = [part for part in found if part[0] & grids]
        for part in together:
            found.remove(part)
        members = [member for _, names in together for member in names]
        found.append((grids.union(*(part[0] for part in together)), [*members, name]))
    order = {name: position for position, name in enumerate(network.layers)}
    groups = [tuple(sorted(names, key=order.__getitem__)) for _, names in found]
    return sorted(groups, key=lambda names: order[names[0]])
