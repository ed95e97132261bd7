"""Small networks of Wav2Vec2 for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kaldi_quant.frontends.keywords.networks.wav2vec2 import KeywordWav2Vec2, make_wav2vec2, sizes_from

CLASSES = ("down", "left", "up")

# Frames of 20 samples.
SMALLEST: dict[str, Any] = {
    "like": "tiny",
    "conv_dim": [8, 12],
    "conv_kernel": [6, 5],
    "conv_stride": [5, 4],
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
}


def small(seed: int = 0, **changes: Any) -> KeywordWav2Vec2:
    """A network; changes: of its sizes."""
    return make_wav2vec2(CLASSES, sizes_from({**SMALLEST, **changes}), seed)


def waves(number: int = 4, samples: int = 600, batch: int = 3, seed: int = 1) -> list[Tensor]:
    """Batches of noise, (batch, 1, samples)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 1, samples, generator=generator) for _ in range(number)]
