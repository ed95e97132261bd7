"""ConvLSTM: layers for each frame around an LSTM over time; causal. As in the STM32 model zoo, and named as there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kaldi_quant.frontends.enhancement.networks.activations import Activation, activation
from kaldi_quant.frontends.enhancement.networks.past import Past, States


class ConvLSTMDenoiser(nn.Module):
    """The network; gives a mask.

    Args:
        in_channels: bins of a spectrum.
        out_channels: bins of the mask, and of the layers for each frame.
        lstm_hidden_size: of the LSTM.
        num_lstm_layers: of the LSTM.
        mask_activation: sigmoid or tanh.

    Raises:
        UsageError: there is no such activation.

    Example:
        >>> ConvLSTMDenoiser()(torch.rand(1, 257, 40)).shape
        torch.Size([1, 257, 40])
    """

    def __init__(
        self,
        in_channels: int = 257,
        out_channels: int = 257,
        lstm_hidden_size: int = 256,
        num_lstm_layers: int = 2,
        mask_activation: Activation = "sigmoid",
    ) -> None:
        super().__init__()
        self.bins, self.mask_activation = in_channels, activation(mask_activation)
        self._states = num_lstm_layers, lstm_hidden_size
        self.conv_block_1 = nn.Sequential(
            nn.Conv1d(in_channels, out_channels, 1), nn.BatchNorm1d(out_channels), nn.ReLU()
        )
        self.lstm_block: nn.Module = nn.LSTM(out_channels, lstm_hidden_size, num_lstm_layers, batch_first=True)
        self.conv_block_2 = nn.Sequential(
            nn.Conv1d(lstm_hidden_size, out_channels, 1), nn.BatchNorm1d(out_channels), nn.ReLU()
        )
        self.conv_3 = nn.Conv1d(out_channels, out_channels, 1)

    def forward(self, magnitude: Tensor, states: States | None = None) -> Tensor | tuple[Tensor, States]:
        """(N, bins, T): a mask; and the states after these frames, if some are given.

        Args:
            magnitude: (N, bins, T), of noisy speech.
            states: of the frames before, for a stream; by default there were none.
        """
        past = Past(states)
        x = self.conv_block_1(magnitude).transpose(1, 2)
        x = past.recurrent(self.lstm_block, x)
        return past.result(self.mask_activation(self.conv_3(self.conv_block_2(x.transpose(1, 2)))))

    def states(self, batch: int = 1) -> States:
        """What a stream begins with: zeros, the hidden state and the memory, (layers, batch, hidden) each."""
        layers, hidden = self._states
        return torch.zeros(layers, batch, hidden), torch.zeros(layers, batch, hidden)
