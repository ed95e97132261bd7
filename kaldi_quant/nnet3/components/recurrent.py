"""The nonlinear parts of LSTM and GRU cells; the loop over time is the graph's (``recurrence.py``).

Source: ``LstmNonlinearityComponent``, ``GruNonlinearityComponent``, ``OutputGruNonlinearityComponent`` in
``src/nnet3/nnet-combined-component.h``; ``cu::CpuComputeLstmNonlinearity`` in ``src/cudamatrix/cu-math.cc``.
"""

import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.kaldi.component import Component
from kaldi_quant.nnet3.components.base import FrameComponent, Registry, parameter


@Registry.register("LstmNonlinearityComponent")
class LstmNonlinearity(FrameComponent):
    """(i, f, c, o parts, c(t-1)[, 3 dropout scales]) → (c(t), m(t)). ``peepholes``: (3, cell_dim) for i, f and o."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.peepholes = parameter(component["Params"])
        self.use_dropout = bool(component.get("UseDropout", False))

    def forward(self, x: Tensor) -> Tensor:
        cell_dim = self.peepholes.shape[1]
        i_part, f_part, c_part, o_part, previous = x[..., : 5 * cell_dim].chunk(5, dim=-1)
        w_i, w_f, w_o = self.peepholes
        i = torch.sigmoid(i_part + w_i * previous)
        f = torch.sigmoid(f_part + w_f * previous)
        if self.use_dropout:
            i_scale, f_scale, o_scale = x[..., 5 * cell_dim :].split(1, dim=-1)
            i, f = i * i_scale, f * f_scale
        c = f * previous + i * torch.tanh(c_part)
        m = torch.sigmoid(o_part + w_o * c) * torch.tanh(c)
        return torch.cat([c, m * o_scale if self.use_dropout else m], dim=-1)


@Registry.register("GruNonlinearityComponent")
class GruNonlinearity(FrameComponent):
    """(z, r, h part, c(t-1)[, s(t-1)]) → (h(t), c(t)). ``w_h``: (cell_dim, recurrent_dim).

    Without projection (recurrent_dim = cell_dim) s(t-1) is c(t-1) and not repeated in the input.
    """

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.w_h = parameter(component["w_h"])

    def forward(self, x: Tensor) -> Tensor:
        cell_dim, recurrent_dim = self.w_h.shape
        z, r, h_part, previous, _ = x.split(
            [cell_dim, recurrent_dim, cell_dim, cell_dim, x.shape[-1] - 3 * cell_dim - recurrent_dim], dim=-1
        )
        recurrent = x[..., -recurrent_dim:]
        h = torch.tanh(h_part + functional.linear(r * recurrent, self.w_h))
        return torch.cat([h, (1 - z) * h + z * previous], dim=-1)


@Registry.register("OutputGruNonlinearityComponent")
class OutputGruNonlinearity(FrameComponent):
    """(z, h part, c(t-1)) → (h(t), c(t)). ``w_h``: (cell_dim,), a diagonal matrix."""

    def __init__(self, component: Component) -> None:
        super().__init__(component)
        self.w_h = parameter(component["w_h"])

    def forward(self, x: Tensor) -> Tensor:
        z, h_part, previous = x.chunk(3, dim=-1)
        h = torch.tanh(h_part + self.w_h * previous)
        return torch.cat([h, (1 - z) * h + z * previous], dim=-1)
