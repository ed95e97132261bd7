"""The GRU of ONNX and Keras whose reset gate multiplies the state before its product; torch's does so behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResetFirstGRU(nn.Module):
    """h' = z h + (1 - z) tanh(W x + b + R (r h) + c), with gates r and z as torch's GRU has them.

    It makes the loop over times itself, which cannot be traced: quantized networks compute it in float.

    Args:
        module: whose parameters it has, of one layer.

    Source: ONNX operators, GRU with ``linear_before_reset = 0``; K. Cho et al., "Learning phrase representations using
        RNN encoder-decoder for statistical machine translation", 2014.
    """

    def __init__(self, module: nn.RNNBase) -> None:
        super().__init__()
        self.hidden_size, self.suffixes = module.hidden_size, ("", "_reverse")[: 1 + module.bidirectional]
        for suffix in self.suffixes:
            for place in ("ih", "hh"):
                weight, bias = (getattr(module, f"{kind}_{place}_l0{suffix}", None) for kind in ("weight", "bias"))
                self.register_parameter(f"weight_{place}{suffix}", weight)
                self.register_parameter(f"bias_{place}{suffix}", bias)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As of ``torch.nn.GRU``: the states of all times, and the last ones.

        Args:
            input: (T, N, in).
            hx: (directions, N, size), by default zeros.
        """
        found = [
            self._direction(input, suffix, None if hx is None else hx[place])
            for place, suffix in enumerate(self.suffixes)
        ]
        return torch.cat([states for states, _ in found], -1), torch.stack([last for _, last in found])

    def _direction(self, x: Tensor, suffix: str, state: Tensor | None) -> tuple[Tensor, Tensor]:
        sums = functional.linear(x, getattr(self, f"weight_ih{suffix}"), getattr(self, f"bias_ih{suffix}"))
        weight, bias, size = getattr(self, f"weight_hh{suffix}"), getattr(self, f"bias_hh{suffix}"), self.hidden_size
        gates, candidate = weight[: 2 * size], weight[2 * size :]
        of_gates, of_candidate = (None, None) if bias is None else (bias[: 2 * size], bias[2 * size :])
        hidden = torch.zeros_like(sums[0, :, :size]) if state is None else state
        states = []
        for frame in reversed(sums.unbind(0)) if suffix else sums.unbind(0):
            both = torch.sigmoid(frame[:, : 2 * size] + functional.linear(hidden, gates, of_gates))
            reset, update = both.chunk(2, -1)
            new = torch.tanh(frame[:, 2 * size :] + functional.linear(reset * hidden, candidate, of_candidate))
            hidden = update * hidden + (1 - update) * new
            states.append(hidden)
        return torch.stack(states[::-1] if suffix else states), hidden
