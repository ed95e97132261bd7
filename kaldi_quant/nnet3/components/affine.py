"""Affine and linear maps: one product per frame, or per frame and time offset.

Source: ``AffineComponent``, ``LinearComponent``, ``FixedAffineComponent``, ``RepeatedAffineComponent``,
``BlockAffineComponent`` in ``src/nnet3/nnet-simple-component.cc``; ``src/nnet3/nnet-tdnn-component.cc``.
"""

import torch
from torch import Tensor, nn

from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import ComponentModule, FrameComponent, Registry, parameter
from kaldi_quant.nnet3.linear import PackedWeight
from kaldi_quant.nnet3.time_access import TimeOffsets


@Registry.register("AffineComponent", "NaturalGradientAffineComponent", "FixedAffineComponent", "LinearComponent")
class Affine(FrameComponent):
    """y = W x + b; LinearComponent has no b. ``weight``: (out, in); ``bias``: (out,) or None."""

    groups = 1

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.weight = parameter(component["Params" if "Params" in component else "LinearParams"])
        self.bias = parameter(component["BiasParams"]) if "BiasParams" in component else None
        self.product: nn.Module = PackedWeight(self.weight)

    @property
    def is_splittable(self) -> bool:
        """Whether the product may be computed as a sum of products over columns of the input."""
        return isinstance(self.product, PackedWeight)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.bias)


@Registry.register("RepeatedAffineComponent", "NaturalGradientRepeatedAffineComponent")
class RepeatedAffine(Affine):
    """The same affine map on each of the input's equal blocks."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.repeats = component["NumRepeats"]

    @property
    def is_splittable(self) -> bool:
        return False

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unflatten(-1, (self.repeats, -1))).flatten(-2)


@Registry.register("BlockAffineComponent")
class BlockAffine(FrameComponent):
    """An affine map of its own for each of the input's blocks. ``weight``: (blocks, out / blocks, in / blocks)."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.blocks = component["NumBlocks"]
        rows = component["LinearParams"]
        self.weight = parameter(rows.reshape(self.blocks, -1, rows.shape[1]))
        self.bias = parameter(component["BiasParams"])

    def forward(self, x: Tensor) -> Tensor:
        blocks = x.unflatten(-1, (self.blocks, -1)).unsqueeze(-2)
        return (blocks @ self.weight.transpose(-1, -2)).squeeze(-2).flatten(-2) + self.bias


@Registry.register("TdnnComponent")
class Tdnn(ComponentModule):
    """y(t) = sum over i of W_i x(t + offset_i) + b. ``weight``: (out, offsets * in); ``bias``: (out,) or None."""

    access: TimeOffsets
    groups = 1

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        offsets = tuple(component["TimeOffsets"].tolist())
        self.access = TimeOffsets(offsets, frozenset(offsets))
        self.weight = parameter(component["LinearParams"])
        self.bias = parameter(component["BiasParams"]) if len(component["BiasParams"]) else None
        self.product: nn.Module = PackedWeight(self.weight)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """parts: for each time offset the input at t + offset, (N, T, input_dim) → (N, T, output_dim)."""
        return self.product(torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0], self.bias)
