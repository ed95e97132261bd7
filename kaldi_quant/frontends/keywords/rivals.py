"""M5 as PyTorch quantizes it, for comparison."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.api import finetuning
from kaldi_quant.backends.torch_engines.whole_modules import (
    convert_module,
    prepare_module,
    quantize_module,
)
from kaldi_quant.frontends.keywords.config import KeywordConfig
from kaldi_quant.frontends.keywords.data import KeywordSet
from kaldi_quant.frontends.keywords.examples import cross_entropy, held_out
from kaldi_quant.frontends.keywords.networks.m5 import BLOCKS, M5
from kaldi_quant.frontends.keywords.training import examples_of, loop_of

_FUSED = [[f"network.conv{block}", f"network.bn{block}", f"network.relu{block}"] for block in range(1, BLOCKS + 1)]


class Scores(nn.Module):
    """What of M5 PyTorch quantizes: all but the softmax.

    Args:
        network: the whole of it.
    """

    def __init__(self, network: M5) -> None:
        super().__init__()
        self.network = network

    def forward(self, waves: Tensor) -> Tensor:
        """(B, 1, T) → (B, 1, classes)."""
        return self.network.scores(waves)


class Classified(nn.Module):
    """Scores with the softmax behind them.

    Args:
        scores: computes them.
    """

    def __init__(self, scores: nn.Module) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, waves: Tensor) -> Tensor:
        """(B, 1, T) → (B, 1, classes), log-probabilities."""
        return functional.log_softmax(self.scores(waves), dim=2)


def torch_ptq(network: M5, keywords: KeywordSet, config: KeywordConfig, observer: str = "histogram") -> Classified:
    """PyTorch's quantization after training for x86, calibrated on all development data as the ancestor does.

    Args:
        network: in float.
        keywords: the data.
        config: how waves are read.
        observer: of activations.
    """
    waves = [batch for batch, _ in _dev(keywords, config)]
    return Classified(quantize_module(Scores(network), _FUSED, waves, observer))


def torch_qat(network: M5, keywords: KeywordSet, config: KeywordConfig, folder: Path) -> Classified:
    """PyTorch's quantization-aware training for x86; arguments as of ``torch_ptq``, folder: of its checkpoint."""
    dev = _dev(keywords, config)
    trained = finetuning.finetune(
        Classified(prepare_module(Scores(network), _FUSED, dev[0][0])),
        examples_of(keywords, config),
        loss=cross_entropy,
        held_out=dev,
        train_mode=True,
        folder=folder,
        **loop_of(config),
    )
    return Classified(convert_module(trained.scores))


def _dev(keywords: KeywordSet, config: KeywordConfig) -> list[tuple[Tensor, Tensor]]:
    return held_out(keywords.dev, len(keywords.classes), config.data.sample_rate, config.data.batch_size)
