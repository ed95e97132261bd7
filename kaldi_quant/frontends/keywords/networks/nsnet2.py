"""NSNet2, a noise suppressor: from the logarithmic power of a frame's bins to a gain for each.

S. Braun and I. Tashev, "Data augmentation and loss normalization for deep noise suppression", SPECOM 2020; the baseline
of the Deep Noise Suppression challenges (``microsoft/DNS-Challenge``, ``NSNet2-baseline``). ``nsnet2_file`` reads its
ONNX files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Gains (N, T, bins), and the states of both GRUs after the last frame, (1, N, hidden) each.
Gains = tuple[Tensor, Tensor, Tensor]


class NSNet2(nn.Module):
    """The network. It looks at no later frame, so that frames may come one by one if states are handed on.

    Args:
        bins: of the spectrum.
        entry: the size of the layer before the GRUs.
        hidden: of each of the two GRUs.
        wide: of the two layers behind them.
        least_gain: gains are not below it; None where the network itself does not limit them.

    Example:
        >>> network = NSNet2()
        >>> gains, first, second = network(torch.randn(1, 100, 161))
        >>> later, *_ = network(torch.randn(1, 1, 161), first, second)
    """

    def __init__(
        self, bins: int = 161, entry: int = 400, hidden: int = 400, wide: int = 600, least_gain: float | None = None
    ) -> None:
        super().__init__()
        self.bins, self.hidden, self.least_gain = bins, hidden, least_gain
        self.fc_in = nn.Sequential(nn.Linear(bins, entry), nn.ReLU())
        self.gru1 = nn.GRU(entry, hidden, batch_first=True)
        self.gru2 = nn.GRU(hidden, hidden, batch_first=True)
        self.fc_out = nn.Sequential(
            nn.Linear(hidden, wide),
            nn.ReLU(),
            nn.Linear(wide, wide),
            nn.ReLU(),
            nn.Linear(wide, bins),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor, first: Tensor | None = None, second: Tensor | None = None) -> Gains:
        """Gains from 0 to 1.

        Args:
            features: (N, T, bins) log10 of power.
            first: the state of the first GRU before these frames, (1, N, hidden); by default zeros.
            second: likewise, of the second one.
        """
        x, first = self.gru1(self.fc_in(features), first)
        x, second = self.gru2(x, second)
        gains = self.fc_out(x)
        return (gains if self.least_gain is None else gains.clamp(min=self.least_gain)), first, second

    def states(self, batch: int = 1) -> tuple[Tensor, Tensor]:
        """What both GRUs begin with: zeros, (1, batch, hidden) each."""
        return torch.zeros(1, batch, self.hidden), torch.zeros(1, batch, self.hidden)
