"""A network whose layers have all widths at once: each weight is a mixture of its roundings, with learned shares.

Source: B. Wu et al., "Mixed precision quantization of ConvNets via differentiable neural architecture search", 2018.
Its roundings are to nearest; here each width begins at the very integers that quantization after training finds for it,
because these are what the network of that width will have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.kept_layers import Keeping
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ptq import kinds_of, quantize
from kaldi_quant.quant.search.options import FLOAT_BITS, Widths, listed, with_widths
from kaldi_quant.quant.slots import set_product
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.fake_grid import FakeGrid
from kaldi_quant.train.qat.fake_product import DynamicProduct, FakeProduct, on_own_grids
from kaldi_quant.train.qat.network import TrainableNetwork
from kaldi_quant.train.qat.options import QatOptions
from kaldi_quant.train.qat.trained_weight import TrainedSteps
from kaldi_quant.units import Bits

_FIXED = QatOptions("fixed")

# Bisection for where the shares begin: beyond so many bits from the mean all but one of them are zero.
_FARTHEST_CENTRE, _BISECTIONS = 64.0, 80


class WidthShares(nn.Module):
    """For each layer the shares of the widths: softmax(logits / temperature).

    They begin alike for all layers, as a discretised normal distribution with a standard deviation of one bit, whose
    mean width is the one asked for.

    Args:
        widths: of weights, ascending.
        weights: how many each layer has.
        mean: the mean width of a weight to begin with, which is also the budget; from the least to the largest.
    """

    temperature: Tensor
    bits: Tensor
    portions: Tensor

    def __init__(self, widths: Sequence[Bits], weights: Mapping[str, int], mean: float) -> None:
        super().__init__()
        self.widths, self.weights, self.mean = tuple(widths), dict(weights), mean
        self._rows = {name: row for row, name in enumerate(weights)}
        self.register_buffer("bits", torch.tensor(self.widths, dtype=torch.float32))
        portions = torch.tensor(list(weights.values()), dtype=torch.float64)
        self.register_buffer("portions", (portions / portions.sum()).float())
        self.register_buffer("temperature", torch.ones(()))
        self.logits = nn.Parameter(_normal(self.bits.double(), mean).float().repeat(len(weights), 1))

    def forward(self) -> Tensor:
        """(layers, widths)."""
        return functional.softmax(self.logits / self.temperature, dim=1)

    def of(self, layer: str) -> Tensor:
        """(widths,)."""
        return functional.softmax(self.logits[self._rows[layer]] / self.temperature, dim=0)

    def mean_bits(self) -> Tensor:
        """(): the expected width of a mean weight, with gradient."""
        return self.portions @ (self() @ self.bits)


def _normal(bits: Tensor, mean: float) -> Tensor:
    """The logits of a normal distribution over widths, (widths,), its centre such that the mean is as asked for."""
    low, high = -_FARTHEST_CENTRE, _FARTHEST_CENTRE
    for _ in range(_BISECTIONS):
        centre = (low + high) / 2
        found = float(functional.softmax(-((bits - centre) ** 2) / 2, dim=0) @ bits)
        low, high = (centre, high) if found < mean else (low, centre)
    logits = -((bits - low) ** 2) / 2
    return logits - logits.max()


class MixedProduct(FakeProduct):
    """A product with the mixture of a weight's roundings to all widths.

    ``steps`` are the places of the weights on the grid of the middle width; on the other grids a weight moves by as
    much, from where quantization to that width left it. The gradient passes through all roundings.

    Args:
        layer: its name.
        shares: of the widths.
        products: fake-quantized products, each for one of the widths.
        biases: (widths, out), what is added to the layer's bias at each width.
    """

    biases: Tensor

    def __init__(self, layer: str, shares: WidthShares, products: Sequence[FakeProduct], biases: Tensor) -> None:
        middle = products[len(products) // 2]
        super().__init__(TrainedSteps(middle.steps.detach().clone()), middle.grid, middle.folded, None)
        self.layer = layer
        #: Of an input whose ranges are dynamic; None where it lies on a grid already.
        self.spec = middle.spec if isinstance(middle, DynamicProduct) else None
        # In a list, which hides it: it belongs to all layers together.
        self._shares = [shares]
        self.grids = nn.ModuleList(product.grid for product in products)
        for number, product in enumerate(products):
            self.register_buffer(f"steps_{number}", product.steps.detach().clone())
        self.register_buffer("biases", biases)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (..., in) → (..., out)."""
        x = x if self.spec is None else on_own_grids(x, self.spec)
        shares = self._shares[0].of(self.layer)
        offset = shares @ self.biases
        return functional.linear(x, self.weight(shares), offset if bias is None else bias + offset)

    def weight(self, shares: Tensor) -> Tensor:
        """(out, in): the mixture with some shares, (widths,)."""
        moved = (self.steps - self._first(len(self.grids) // 2)) * self.grid.scale
        weight = torch.zeros_like(moved)
        for number, (share, grid) in enumerate(zip(shares, self.grids, strict=True)):
            assert isinstance(grid, FakeGrid)
            weight = weight + share * (grid.rounded(self._first(number) + moved / grid.scale) * grid.scale)
        return weight / self.folded if self.is_folded else weight

    def _first(self, number: int) -> Tensor:
        return self.get_buffer(f"steps_{number}")


@dataclass
class MixedNetwork:
    """A network whose layers have all widths at once.

    Args:
        network: to train; its products are ``MixedProduct``.
        shares: of the widths; parameters beside those of ``network``.
        kinds: of each layer (``layer_kinds``).
        act_bits: the width of each layer's input.
        float_weights: of the layers that stay in float.
    """

    network: TrainableNetwork
    shares: WidthShares
    kinds: dict[str, set[str]]
    act_bits: dict[str, Bits]
    float_weights: int

    @classmethod
    def of(
        cls,
        source: Source,
        config: PtqConfig,
        data: Data,
        widths: Sequence[Bits],
        mean: float,
        keeping: Keeping | None = None,
    ) -> Self:
        """Quantizes a network after training in every width, each layer for itself, and mixes what comes out.

        Args:
            source: the float network.
            config: all but the widths of weights.
            data: the calibration set.
            widths: of weights, ascending.
            mean: of a weight's width to begin with; layers in float are included, with 32 bits.
            keeping: as of ``quantize``.

        Raises:
            UsageError: the configuration is one of PyTorch's, no layer can be quantized, or no choice of widths has
                this mean.
            DataError: the calibration set cannot be used.
        """
        if config.backend != "kaldi_quant":
            raise UsageError("the presets torch-* have 8 bits only: there are no widths to learn")
        kinds = kinds_of(source, config)
        act_bits = {name: layer.act_bits for name, layer in config.for_layers(kinds).items()}

        def in_width(bits: Bits) -> PtqConfig:
            chosen = {name: Widths(bits, act_bits[name]) for name in kinds}
            return with_widths(replace(config, sequential=False), kinds, chosen)

        widest = quantize(source, in_width(widths[-1]), data, keeping=keeping)
        if not widest.layers:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in widest.float_layers.items())
            raise UsageError(f"no layer can be quantized, so there are no widths to learn ({reasons or 'none'})")
        network = TrainableNetwork.of(widest, _FIXED)
        weights = {name: layer.weight.integers.numel() for name, layer in widest.layers.items()}
        in_float = sum(widest.host.weight(name).numel() for name in widest.float_layers)
        shares = WidthShares(widths, weights, _mean_of_integers(widths, sum(weights.values()), in_float, mean))
        # Rescaled channels stay as they are in the first one: layers of different widths must fit together.
        narrower = (replace(in_width(bits), equalization="none") for bits in widths[:-1])
        _mix(network, shares, [*(quantize(widest.host, config, data, keeping=keeping) for config in narrower), widest])
        return cls(network, shares, kinds, act_bits, in_float)

    def components(self) -> list[TrainedComponent]:
        """What is trained beside the shares: weights and biases, and whole layers that stay in float."""
        return self.network.components()

    def with_float(self, mean: float) -> float:
        """The mean width of all weights, from that of the weights in integers."""
        weights = sum(self.shares.weights.values())
        return (mean * weights + FLOAT_BITS * self.float_weights) / (weights + self.float_weights)

    def to(self, device: torch.device) -> None:
        """Moves what is computed with to a device."""
        self.network.to(device)
        self.shares.to(device)


def _mean_of_integers(widths: Sequence[Bits], weights: int, in_float: int, mean: float) -> float:
    """The mean width of the weights in integers that makes a mean of all weights.

    Raises:
        UsageError: it is not between the least and the largest width.
    """
    wanted = (mean * (weights + in_float) - FLOAT_BITS * in_float) / weights
    extremes = (widths[0], widths[-1])
    least, largest = ((bits * weights + FLOAT_BITS * in_float) / (weights + in_float) for bits in extremes)
    if wanted < widths[0]:
        raise UsageError(
            f"no allocation of {listed(widths)} meets the budget of {mean:g} bits: the closest has {least:.4g} bits "
            "per weight"
        )
    if wanted > widths[-1]:
        raise UsageError(
            f"the budget of {mean:g} bits leaves nothing to learn: {widths[-1]} bits in all layers are {largest:.4g} "
            "bits per weight"
        )
    return wanted


def _mix(network: TrainableNetwork, shares: WidthShares, quantized: Sequence[QuantizedNetwork]) -> None:
    """Puts mixtures in the place of a network's products; ``quantized``: in all widths, that of ``network`` last."""
    products = [TrainableNetwork.of(found, _FIXED).products for found in quantized]
    for name in network.products:
        biases = torch.stack([found.layers[name].dequantized_bias() for found in quantized])
        mixed = MixedProduct(name, shares, [found[name] for found in products], biases - biases[-1])
        network.products[name] = mixed
        set_product(network.model, name, mixed)
