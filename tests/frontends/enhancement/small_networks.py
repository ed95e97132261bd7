"""The networks for speech enhancement in small, with weights and normalizations that are not trivial."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.frontends.enhancement.networks.known import NETWORKS

BINS = 17
_CRN = {"bins": BINS, "channels": (2, 3), "decoder": (2, 1)}
_TCNN = {"in_channels": BINS, "latent": 12, "n_blocks": 1, "num_layers": 2}
_CONV_LSTM = {"in_channels": BINS, "out_channels": BINS, "lstm_hidden_size": 12}
_SIZES: dict[str, dict[str, Any]] = {
    "crn-100k": _CRN,
    "crn": _CRN,
    "tcn-100k": {"bins": BINS, "channels": (6, 8)},
    "stft-tcnn": _TCNN,
    "stft-tcnn-causal": _TCNN,
    "conv-lstm": _CONV_LSTM,
    "conv-lstm-decomposed": _CONV_LSTM,
}
STREAMING = ("crn", "crn-100k", "tcn-100k", "stft-tcnn-causal", "conv-lstm", "conv-lstm-decomposed")


def lively(name: str, seed: int = 3, **sizes: Any) -> Any:
    """A small network in test mode whose layers and normalizations all make a difference."""
    torch.manual_seed(seed)
    network = NETWORKS[name].build(**{**_SIZES[name], **sizes})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.3, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.3)
        elif isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
    return network.eval()


def frames_axis(name: str) -> int:
    """The axis of frames of a network's input and output."""
    return 1 if NETWORKS[name].around.layout == "frames-bins" else 2


def magnitudes(name: str, frames: int, batch: int = 1, seed: int = 0) -> Tensor:
    """An input of a network."""
    found = torch.randn(batch, frames, BINS, generator=torch.Generator().manual_seed(seed)).abs()
    return found if frames_axis(name) == 1 else found.transpose(1, 2)
