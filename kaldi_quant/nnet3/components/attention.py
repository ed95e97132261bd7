"""Self-attention over a fixed window of frames.

Source: ``src/nnet3/nnet-attention-component.h``, ``attention.cc``; D. Povey, H. Hadian, P. Ghahremani, K. Li,
S. Khudanpur, "A time-restricted self-attention layer for ASR", ICASSP 2018.
"""

import torch
from torch import Tensor

from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import ComponentModule, Registry
from kaldi_quant.nnet3.time_access import TimeOffsets


@Registry.register("RestrictedAttentionComponent")
class RestrictedAttention(ComponentModule):
    """For each head: softmax over the window of key_scale * query·key + position bias, then the mean of the values.

    A head's columns are: key, value, query, position bias (one per frame of the window). Frames of the window that
    do not exist count as zero, but keep their share of the softmax, as in Kaldi.
    """

    access: TimeOffsets

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.heads, self.key_dim, self.value_dim = (component[name] for name in ("NumHeads", "KeyDim", "ValueDim"))
        self.key_scale = float(component["KeyScale"])
        self.output_context = component["OutputContext"]
        stride = component["TimeStride"]
        left, right = component["NumLeftInputs"], component["NumRightInputs"]
        required = range(-component["NumLeftInputsRequired"], component["NumRightInputsRequired"] + 1)
        offsets = tuple(stride * i for i in range(-left, right + 1))
        self.access = TimeOffsets(offsets, frozenset(stride * i for i in required))
        self.position_of_zero = left

    def forward(self, parts: list[Tensor]) -> Tensor:
        """parts: for each frame of the window the input at t + offset, (N, T, input_dim) → (N, T, output_dim)."""
        frames = [part.unflatten(-1, (self.heads, -1)) for part in parts]
        context_dim = len(frames)
        sizes = [self.key_dim, self.value_dim, self.key_dim, context_dim]
        query, bias = frames[self.position_of_zero].split(sizes, dim=-1)[2:]
        keys = torch.stack([frame[..., : self.key_dim] for frame in frames], dim=-2)
        values = torch.stack([frame[..., self.key_dim : self.key_dim + self.value_dim] for frame in frames], dim=-2)
        logits = self.key_scale * (keys @ query.unsqueeze(-1)).squeeze(-1) + bias
        weights = torch.softmax(logits, dim=-1)
        output = (weights.unsqueeze(-2) @ values).squeeze(-2)
        return (torch.cat([output, weights], dim=-1) if self.output_context else output).flatten(-2)
