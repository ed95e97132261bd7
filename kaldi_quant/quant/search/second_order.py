"""What rounding a layer costs, from the curvature of the divergence at its output: no network runs for a candidate.

With p the float network's distribution at a frame and z a layer's output, the divergence of a small change dz is
0.5 dz' F dz, where F is the Fisher information E[g g'] of g = d log p(y) / dz for pdfs y drawn from p. With errors that
are independent from frame to frame, have no mean (the bias takes it up) and do not depend on F, its mean is
0.5 tr(F C), where C is the covariance of the layer's error: dW H dW' for weights that change by dW and inputs of
covariance H, and W E W' for inputs whose rounding error has covariance E.

Source: Z. Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks", NeurIPS 2020; with the
Fisher information in the Hessian's place, as Y. Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by
Block Reconstruction", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.quant.calibration import input_statistics
from kaldi_quant.quant.distance import Distance
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.grouped import cross_moments, quadratic
from kaldi_quant.quant.host import Data, Executable, Host
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.quant.network import QuantizedNetwork, moved
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.quant.slots import columns_of, groups_of_layer, rows_that_count, set_product
from kaldi_quant.quant.waiting import Waiting
from kaldi_quant.quant.weight_only import WeightOnlyLinear
from kaldi_quant.quant.weight_rounding import on_grid
from kaldi_quant.units import Bytes, Nats


class SecondOrder:
    """The estimates for a network.

    Args:
        host: the float network.
        layers: those in question.
        data: a few units.
        seed: for what is drawn from the network's output.
        memory: what waiting values may take; the others wait on disk.

    Raises:
        DataError: too many units cannot be used.
    """

    def __init__(self, host: Host, layers: Iterable[str], data: Data, seed: int = 0, memory: Bytes = MEMORY) -> None:
        self.host, self.data, self.memory = host, data, memory
        self.fisher = fisher_information(host, layers, data, seed)
        statistics = input_statistics(host.executable(), self.fisher, data, outer=True)
        self._covariances = {name: statistics.pop(name).covariance for name in self.fisher}

    def of_weights(self, network: QuantizedNetwork, layer: str) -> Nats:
        """What a layer's weights cost as they are in a quantized network."""
        change = network.layers[layer].dequantized_weight().double() - self._weight(layer)
        return self._cost(layer, quadratic(change, self._covariances[layer]))

    def of_inputs(self, networks: Mapping[str, Sequence[QuantizedNetwork]]) -> dict[str, list[Nats]]:
        """What the grids cost that layers read, in one run of the float network.

        Args:
            networks: for each layer quantized networks that have it.

        Returns:
            For each layer what its input costs in each of them.
        """
        model = self.host.executable().to(self.data.device)
        # Ranges that are found anew for each sequence must not see padding.
        model.batches_of_one_length = True
        costs: dict[str, list[Nats]] = {}
        with closing(Waiting(model, self.data, self.memory)) as batches:
            for layer in sorted(networks, key=lambda name: model.places(name)[0]):
                size = columns_of(model, layer), groups_of_layer(model, layer)
                found = [_RoundingErrors(_rounding(each, layer, self.data.device), *size) for each in networks[layer]]

                def see(x: Tensor, found: Sequence[_RoundingErrors] = found) -> None:
                    for errors in found:
                        errors.see(x)

                batches.show(layer, see)
                weight = self._weight(layer)
                costs[layer] = [self._cost(layer, quadratic(weight, errors.covariance)) for errors in found]
        return costs

    def _weight(self, layer: str) -> Tensor:
        return self.host.weight(layer).double()

    def _cost(self, layer: str, covariance: Tensor) -> Nats:
        return 0.5 * float((self.fisher[layer] * covariance).sum())


class _RoundingErrors:
    """Sums the rounding errors of what a product is given.

    Args:
        rounded: what a grid makes of an input, (N, ..., in) float.
        columns: of the layer's weight.
        groups: of the input's columns (``grouped``).
    """

    def __init__(self, rounded: Callable[[Tensor], Tensor], columns: int, groups: int) -> None:
        self.rounded, self.groups = rounded, groups
        self.count = 0
        self.sum = torch.zeros(groups * columns, dtype=torch.float64)
        self.outer = cross_moments(self.sum, self.sum, groups)

    def see(self, x: Tensor) -> None:
        """x: (..., groups * in)."""
        error = rows_that_count(self.rounded(x) - x)
        self.count += len(error)
        self.sum += error.double().sum(0).cpu()
        self.outer += cross_moments(error, error, self.groups).double().cpu()

    @property
    def covariance(self) -> Tensor:
        """(in, in), or (groups, in, in) float64: the errors' mean is left to the bias."""
        mean = self.sum / max(1, self.count)
        return self.outer / max(1, self.count) - cross_moments(mean, mean, self.groups)


def _rounding(network: QuantizedNetwork, layer: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What the grids of a layer's input make of it."""
    quantized = network.layers[layer]
    if isinstance(quantized, WeightOnlyLinear):
        return lambda x: x
    if not isinstance(quantized, DynamicLinear):
        return on_grid(moved(input_grid(network.host, network.graph, layer, network.activations), device))
    spec = quantized.spec

    def over_its_range(x: Tensor) -> Tensor:
        flat, shape = torch.nan_to_num(x).flatten(1), (len(x),) + (1,) * (x.dim() - 1)
        return Grid.from_range(spec, flat.amin(1).view(shape), flat.amax(1).view(shape)).fake(x)

    return over_its_range


def fisher_information(host: Host, layers: Iterable[str], data: Data, seed: int = 0) -> dict[str, Tensor]:
    """The Fisher information of the network's output at layers' outputs, by one backward pass over the data.

    Args:
        host: the float network.
        layers: those in question.
        data: a few units.
        seed: for what is drawn, for each output row.

    Returns:
        For each layer (out, out) float64: the sum over all rows of the layer's output, per row of the network's.
    """
    model = host.executable()
    model.requires_grad_(False)
    # Rows of padding would count like others.
    model.batches_of_one_length = True
    backward = _Backward(model, host.distance, seed)
    sums: dict[str, Tensor] = {}
    for name in layers:
        slot = model.slot(name)
        sums[name] = torch.zeros(len(slot.weight), len(slot.weight), dtype=torch.float64)
        set_product(model, name, _GradientProducts(slot.product, sums[name].add_))
    data.run(model)
    return {name: total / max(1, backward.rows) for name, total in sums.items()}


class _Backward:
    """Sends back the gradient of what is drawn for each output row, wherever a model is run from now on."""

    def __init__(self, model: Executable, distance: Distance, seed: int) -> None:
        self.rows = 0
        self.distance = distance
        self._generator = torch.Generator().manual_seed(seed)
        self._forward = model.forward
        model.forward = self.forward

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """As the model's, with a backward pass behind it."""
        with torch.inference_mode(False), torch.enable_grad():
            output = self._forward(*map(_copied, args), **{name: _copied(value) for name, value in kwargs.items()})
            rows = output.reshape(-1, output.shape[-1])
            self.rows += len(rows)
            self.distance.sampled(rows, self._generator).backward()
        return output.detach()


def _copied(value: Any) -> Any:
    """A tensor that gradients may pass, which those of inference mode do not let."""
    return value.clone() if isinstance(value, Tensor) else value


class _GradientProducts(nn.Module):
    """Hands on the sum over rows of outer products of the gradient at a product's result, (out, out) float64."""

    def __init__(self, product: nn.Module, add: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.product, self.add = product, add

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """As the product that it stands for."""
        y = self.product(x, bias)
        if not y.requires_grad:
            y = y.requires_grad_()
        y.register_hook(self._see)
        return y

    def _see(self, gradient: Tensor) -> None:
        rows = gradient.reshape(-1, gradient.shape[-1])
        self.add((rows.T @ rows).double().cpu())
