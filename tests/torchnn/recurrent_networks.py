"""Networks with recurrent modules, and how they are quantized in tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.quantization import quantize

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class WithState(nn.Module):
    """All that a recurrent module returns, with an initial state from outside if there is one."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        hx = None if not state else state if isinstance(self.rnn, nn.LSTM) or len(state) > 1 else state[0]
        self.rnn.flatten_parameters()
        output, last = self.rnn(x) if hx is None else self.rnn(x, hx)
        return (output, *last) if isinstance(last, tuple) else (output, last)


class Enhancer(nn.Module):
    """As in speech enhancement: a convolution, a GRU of two layers, a mask."""

    def __init__(self, rnn: nn.RNNBase, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(5, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU())
        self.rnn = rnn
        self.mask = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(self.encoder(x).transpose(1, 2))
        return torch.sigmoid(self.mask(states)).transpose(1, 2) * x


class InChunks(nn.Module):
    """Decides by sizes, and begins without a state."""

    def __init__(self, begins_without: bool) -> None:
        super().__init__()
        self.rnn, self.last = nn.LSTM(3, 4, batch_first=True, bidirectional=True), nn.Linear(8, 2)
        self.begins_without = begins_without

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(2, len(x), 4)
        state, outputs = None if self.begins_without else (zeros, zeros), []
        for chunk in x.split(4, 1):
            states, state = self.rnn(chunk, state)
            outputs.append(self.last(states))
        return torch.cat(outputs, 1)


def enhancer(kind: str = "gru", **options: object) -> Enhancer:
    torch.manual_seed(3)
    rnn = KINDS[kind](6, 7, **{"num_layers": 2, "batch_first": True, **options})
    return Enhancer(rnn, 14 if rnn.bidirectional else 7).eval()


def inputs(number: int = 3, length: int = 12, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(batch, 5, length, generator=generator) for _ in range(number)]


CONFIGS = {
    f"w{bits}a{act_bits} {ranges}": PtqConfig(LayerConfig(bits=bits, act_bits=act_bits, ranges=ranges))
    for bits, act_bits in ((8, 8), (4, 8), (4, 4))
    for ranges in ("static", "dynamic")
}


def quantized(network: nn.Module, config: PtqConfig, data: list, output: int | None = None) -> QuantizedNetwork:
    return quantize(network, config, TensorData(data, output))
