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

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.schedule import Span
from kaldi_quant.nnet3.time_access import Times
from kaldi_quant.quant.calibration import CalibrationSet, input_statistics, rows_that_count
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.input_grids import input_grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.linear_components import weight_of
from kaldi_quant.quant.linear_modules import linear_module
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.weight_rounding import on_grid

Nats = float


class SecondOrder:
    """The estimates for a network.

    Args:
        nnet: the prepared float network.
        layers: its linear components in question.
        data: a few utterances.
        seed: for the pdfs that are drawn.

    Raises:
        DataError: too many utterances cannot be used.
    """

    def __init__(self, nnet: Nnet, layers: Iterable[str], data: CalibrationSet, seed: int = 0) -> None:
        self.nnet, self.data = nnet, data
        self.fisher = fisher_information(nnet, layers, data, seed)
        self._statistics = input_statistics(AcousticModel(nnet), self.fisher, data, outer=True)

    def of_weights(self, network: QuantizedNetwork, layer: str) -> Nats:
        """What a layer's weights cost as they are in a quantized network."""
        change = network.layers[layer].dequantized_weight().double() - self._weight(layer)
        return self._cost(layer, change @ self._statistics[layer].covariance @ change.T)

    def of_inputs(self, network: QuantizedNetwork, layer: str) -> Nats:
        """What the grids cost that a layer reads in a quantized network."""
        weight = self._weight(layer)
        model = AcousticModel(self.nnet)
        # Ranges that are found anew for each sequence must not see padding.
        model.batches_of_one_length = True
        module = linear_module(model, layer)
        found = _RoundingErrors(module.product, _rounding(network, layer), weight.shape[1])
        module.product = found
        self.data.run(model)
        return self._cost(layer, weight @ found.covariance @ weight.T)

    def _weight(self, layer: str) -> Tensor:
        return torch.from_numpy(weight_of(self.nnet.components[layer])).double()

    def _cost(self, layer: str, covariance: Tensor) -> Nats:
        return 0.5 * float((self.fisher[layer] * covariance).sum())


class _RoundingErrors(nn.Module):
    """Sums the rounding errors of what a product is given.

    Args:
        product: that it stands for.
        rounded: what a grid makes of an input, (N, ..., in) float.
        columns: of the layer's weight.
    """

    def __init__(self, product: nn.Module, rounded: Callable[[Tensor], Tensor], columns: int) -> None:
        super().__init__()
        self.product, self.rounded = product, rounded
        self.count = 0
        self.sum = torch.zeros(columns, dtype=torch.float64)
        self.outer = torch.zeros(columns, columns, dtype=torch.float64)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """As the product."""
        error = rows_that_count(self.rounded(x) - x)
        self.count += len(error)
        self.sum += error.double().sum(0)
        self.outer += (error.T @ error).double()
        return self.product(x, bias)

    @property
    def covariance(self) -> Tensor:
        """(in, in) float64: the errors' mean is left to the bias."""
        mean = self.sum / max(1, self.count)
        return self.outer / max(1, self.count) - torch.outer(mean, mean)


def _rounding(network: QuantizedNetwork, layer: str) -> Callable[[Tensor], Tensor]:
    """What the grids of a layer's input make of it."""
    quantized = network.layers[layer]
    if isinstance(quantized, IntegerLinear):
        return on_grid(input_grid(network.graph, layer, network.activations))
    spec = quantized.spec

    def over_its_range(x: Tensor) -> Tensor:
        flat, shape = torch.nan_to_num(x).flatten(1), (len(x),) + (1,) * (x.dim() - 1)
        return Grid.from_range(spec, flat.amin(1).view(shape), flat.amax(1).view(shape)).fake(x)

    return over_its_range


def fisher_information(nnet: Nnet, layers: Iterable[str], data: CalibrationSet, seed: int = 0) -> dict[str, Tensor]:
    """The Fisher information of the pdfs' distribution at layers' outputs, by one backward pass over the data.

    Args:
        nnet: the prepared float network.
        layers: its linear components in question.
        data: a few utterances.
        seed: for the pdfs that are drawn, one for each output row.

    Returns:
        For each layer (out, out) float64: the sum over all rows of the layer's output, per row of the network's.
    """
    model = _Differentiated(nnet, seed)
    sums: dict[str, Tensor] = {}
    for name in layers:
        module = linear_module(model, name)
        sums[name] = torch.zeros(len(module.weight), len(module.weight), dtype=torch.float64)
        module.product = _GradientProducts(module.product, sums[name].add_)
    data.run(model)
    return {name: total / max(1, model.rows) for name, total in sums.items()}


class _Differentiated(AcousticModel):
    """Draws a pdf for each output row, and sends the gradient of its log-probability back, wherever it is run."""

    def __init__(self, nnet: Nnet, seed: int) -> None:
        super().__init__(nnet)
        self.rows = 0
        self._generator = torch.Generator().manual_seed(seed)
        self.requires_grad_(False)
        # Rows of padding would count like others.
        self.batches_of_one_length = True

    def forward(
        self, feats: Tensor, spans: Sequence[Span], output_times: Times, ivectors: Tensor | None = None
    ) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            ivectors = None if ivectors is None else ivectors.clone()
            output = super().forward(feats.clone(), spans, output_times, ivectors)
            scores = torch.log_softmax(output.flatten(0, 1), dim=1)
            pdfs = torch.multinomial(scores.detach().exp(), 1, generator=self._generator)
            self.rows += len(scores)
            scores.gather(1, pdfs).sum().backward()
        return output.detach()


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
        self.add((rows.T @ rows).double())
