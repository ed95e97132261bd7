"""Scales, offsets, normalization by stored statistics, and what does nothing at inference.

Source: ``src/nnet3/nnet-simple-component.cc``, ``nnet-normalize-component.cc``, ``nnet-general-component.cc``.
nnet3-compute sets batch-norm and dropout components to test mode, whatever the file says; so do these.
"""

import torch
from torch import Tensor

from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import ComponentModule, FrameComponent, Registry, constant, parameter
from kaldi_quant.nnet3.time_access import NoInput


@Registry.register("NoOpComponent", "ClipGradientComponent", "GeneralDropoutComponent", "SpecAugmentTimeMaskComponent")
class Identity(FrameComponent):
    """The input itself: these components act in training only."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@Registry.register("DropoutComponent", "BackpropTruncationComponent")
class ConstantScale(FrameComponent):
    """The input times a number: 1 - dropout-proportion, or the scale of a recurrence that decays."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.scale = (
            1.0 - float(component["DropoutProportion"])
            if component.type == "DropoutComponent"
            else float(component.get("Scale", 1.0))
        )

    def forward(self, x: Tensor) -> Tensor:
        return x if self.scale == 1.0 else x * self.scale


@Registry.register("PerElementScaleComponent", "NaturalGradientPerElementScaleComponent", "FixedScaleComponent")
class ElementwiseScale(FrameComponent):
    """y = scales * x."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.scales = parameter(component["Params" if "Params" in component else "Scales"])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scales


@Registry.register("PerElementOffsetComponent", "FixedBiasComponent")
class ElementwiseOffset(FrameComponent):
    """y = x + offsets, in each of the input's blocks."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.offsets = parameter(component["Offsets" if "Offsets" in component else "Bias"])

    def forward(self, x: Tensor) -> Tensor:
        return (x.unflatten(-1, (-1, len(self.offsets))) + self.offsets).flatten(-2)


@Registry.register("ScaleAndOffsetComponent")
class ScaleAndOffset(FrameComponent):
    """y = scales * x + offsets, in each of the input's blocks.

    Kaldi keeps scales at least 1e-4 away from zero in the forward pass (``PropagateInternal``, ``cu::EnsureNonzero``).
    """

    EPSILON = 1.0e-4

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.scales = parameter(component["Scales"])
        self.offsets = parameter(component["Offsets"])

    def forward(self, x: Tensor) -> Tensor:
        floor = torch.where(self.scales >= 0, self.EPSILON, -self.EPSILON)
        scales = torch.where(self.scales.abs() < self.EPSILON, floor, self.scales)
        return (x.unflatten(-1, (-1, len(scales))) * scales + self.offsets).flatten(-2)


@Registry.register("BatchNormComponent")
class BatchNorm(FrameComponent):
    """y = (x - mean) * target_rms / sqrt(var + epsilon), in each of the input's blocks.

    ``mean``, ``var``: (block_dim,) buffers from the file.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.epsilon = float(component["Epsilon"])
        self.target_rms = float(component["TargetRms"])
        self.register_buffer("mean", constant(component["StatsMean"]))
        self.register_buffer("var", constant(component["StatsVar"]))

    @property
    def scale(self) -> Tensor:
        """(block_dim,): what the input is multiplied by."""
        return self.target_rms * torch.rsqrt(self.var.clamp_min(0.0) + self.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.scale
        offset = -self.mean * scale
        if len(scale) == self.input_dim:
            return torch.addcmul(offset, x, scale)
        return torch.addcmul(offset, x.unflatten(-1, (-1, len(scale))), scale).flatten(-2)


class ConstantOutput(ComponentModule):
    """The same row at every time, whatever the input."""

    value: Tensor

    def forward(self, batch: int, times: int) -> Tensor:
        """→ (batch, times, output_dim)."""
        return self.value.expand(batch, times, -1)


@Registry.register("ConstantFunctionComponent")
class ConstantFunction(FrameComponent):
    """A stored row wherever the input exists. ``output``: (output_dim,)."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.output = parameter(component["Output"])

    def forward(self, x: Tensor) -> Tensor:
        return self.output.expand(*x.shape[:-1], -1)


@Registry.register("ConstantComponent")
class Constant(ConstantOutput):
    """A stored row at every time. ``value``: (output_dim,)."""

    access = NoInput()

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.value = parameter(component["Output"])


@Registry.register("DropoutMaskComponent")
class DropoutMask(ConstantOutput):
    """In test mode the mask is 1 - dropout-proportion everywhere, 1 where it is continuous."""

    access = NoInput()

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        kept = 1.0 if component.get("Continuous", False) else 1.0 - float(component["DropoutProportion"])
        self.register_buffer("value", torch.full((self.output_dim,), kept))
