"""Nonlinearities and fixed rearrangements of columns.

Source: ``src/nnet3/nnet-simple-component.cc``, ``nnet-normalize-component.cc``, ``src/cudamatrix/cu-math.cc``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import column_map
from kaldi_quant.nnet3.components.base import FrameComponent, Registry

# SoftmaxComponent::Propagate floors its output there.
_SOFTMAX_FLOOR = 1.0e-20
# cu::NormalizePerRow floors the squared norm at 2^-66.
_SQUARED_NORM_FLOOR = 2.0**-66

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "RectifiedLinearComponent": torch.relu,
    "SigmoidComponent": torch.sigmoid,
    "TanhComponent": torch.tanh,
    "SoftmaxComponent": lambda x: torch.softmax(x, dim=-1).clamp_min(_SOFTMAX_FLOOR),
    "LogSoftmaxComponent": lambda x: torch.log_softmax(x, dim=-1),
}


@Registry.register(*_FUNCTIONS)
class Nonlinearity(FrameComponent):
    """ReLU, sigmoid, tanh, softmax or log-softmax of each frame."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.function = _FUNCTIONS[component.type]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@Registry.register("NormalizeComponent")
class Normalize(FrameComponent):
    """Scales each block of each frame to root-mean-square ``target_rms``; may append the log of what it was before."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.block_dim = component.get("BlockDim", self.input_dim)
        self.target_rms = float(component.get("TargetRms", 1.0))
        self.add_log_stddev = bool(component.get("AddLogStddev", False))

    def forward(self, x: Tensor) -> Tensor:
        blocks = x.unflatten(-1, (-1, self.block_dim))
        squared_norm = blocks.square().mean(dim=-1, keepdim=True) / self.target_rms**2
        scale = squared_norm.clamp_min(_SQUARED_NORM_FLOOR).rsqrt()
        normalized = blocks * scale
        if self.add_log_stddev:
            normalized = torch.cat([normalized, torch.log(self.target_rms / scale)], dim=-1)
        return normalized.flatten(-2)


@Registry.register("PnormComponent")
class Pnorm(FrameComponent):
    """The 2-norm of each group of neighbouring columns."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x.unflatten(-1, (self.output_dim, -1)), dim=-1)


@Registry.register("SumGroupComponent")
class SumGroup(FrameComponent):
    """The sum of each group of neighbouring columns; groups may differ in size. ``groups``: (input_dim,) int64."""

    groups: Tensor

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        sizes = torch.from_numpy(component["Sizes"]).long()
        self.register_buffer("groups", torch.repeat_interleave(torch.arange(len(sizes)), sizes))

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.output_dim).index_add(-1, self.groups, x)


@Registry.register("SumBlockComponent")
class SumBlock(FrameComponent):
    """The sum of the input's blocks of output_dim columns, scaled."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.scale = float(component["Scale"])

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.output_dim)).sum(dim=-2) * self.scale


@Registry.register("ElementwiseProductComponent")
class ElementwiseProduct(FrameComponent):
    """The product of the input's blocks of output_dim columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.output_dim)).prod(dim=-2)


@Registry.register("PermuteComponent")
class Permute(FrameComponent):
    """Column i of the output is column ``columns[i]`` of the input. ``columns``: (dim,) int64."""

    columns: Tensor

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.register_buffer("columns", torch.from_numpy(column_map(component)).long())

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(-1, self.columns)


@Registry.register("CompositeComponent")
class Composite(FrameComponent):
    """Components one after the other."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        parts = [Registry.build(f"part {i}", part) for i, part in enumerate(component["NumComponents"])]
        for part in parts:
            if not isinstance(part, FrameComponent):
                raise ValueError(
                    f"CompositeComponent holds a {part.component_type}, which does not work frame by frame"
                )
        self.parts = torch.nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x)
