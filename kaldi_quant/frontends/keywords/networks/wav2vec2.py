"""Wav2Vec2 that tells keywords apart: the network of the package transformers, with a row of logits for each recording.

Convolutions make a feature every 20 ms of the wave itself, a transformer looks at all of them, and a linear layer reads
the mean over time.

Source: A. Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations", NeurIPS
2020; the head is that of S. Yang et al., "SUPERB: Speech processing Universal PERformance Benchmark", Interspeech 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import MissingDependencyError, UsageError

try:
    import transformers
except ImportError as error:
    raise MissingDependencyError(
        "Wav2Vec2 needs the package transformers: pip install 'kaldi_quant[wav2vec2]'"
    ) from error

#: Of the waves, in Hz.
SAMPLE_RATE = 16000

# What the feature extractor of transformers adds to the variance.
_EPSILON = 1e-7


@dataclass(frozen=True)
class Wav2Vec2Sizes:
    """How large a network is; the names and the defaults, those of the base model, are of transformers' configuration.

    Args:
        conv_dim: channels of each convolution.
        conv_kernel: samples, or frames of the convolution before, that each reads at a time.
        conv_stride: by which each goes on.
        conv_bias: whether convolutions have biases.
        feat_extract_norm: group: the first convolution's channels are normalised over time; layer: every convolution's
            frames over channels.
        do_stable_layer_norm: whether normalizations stand before attention and feed-forward layers, not behind.
        hidden_size: channels of the transformer.
        num_hidden_layers: of the transformer.
        num_attention_heads: of each attention.
        intermediate_size: channels within feed-forward layers.
        num_conv_pos_embeddings: frames that the convolution reads which tells places apart.
        num_conv_pos_embedding_groups: its groups.
        classifier_proj_size: channels whose mean is classified.
        dropout: in training, of all parts of the transformer.

    Raises:
        UsageError: the numbers do not go together.
    """

    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: str = "group"
    do_stable_layer_norm: bool = False
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    classifier_proj_size: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0:
            raise UsageError(
                f"conv_dim {self.conv_dim}, conv_kernel {self.conv_kernel} and conv_stride {self.conv_stride} must "
                "have a number for each convolution"
            )
        numbers = [value for value in asdict(self).values() if type(value) is int]
        if min(*numbers, *self.conv_dim, *self.conv_kernel, *self.conv_stride) < 1:
            raise UsageError("sizes of Wav2Vec2 must be 1 or more")
        if self.feat_extract_norm not in ("group", "layer"):
            raise UsageError(f"feat_extract_norm {self.feat_extract_norm!r} is not one of group, layer")
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                raise UsageError(f"hidden_size {self.hidden_size} must be a multiple of {name} {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be from 0 to less than 1, found {self.dropout:g}")


#: By name: that of ``facebook/wav2vec2-base``, and one that two cores train in a minute.
SIZES: Mapping[str, Wav2Vec2Sizes] = {
    "base": Wav2Vec2Sizes(),
    "tiny": Wav2Vec2Sizes(
        conv_dim=(24, 48, 64, 64),
        conv_kernel=(16, 8, 4, 3),
        conv_stride=(8, 5, 4, 2),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=64,
    ),
}


def sizes_from(given: str | Mapping[str, Any]) -> Wav2Vec2Sizes:
    """Sizes by their name, or by a mapping with ``like``, a name, and what is different.

    Raises:
        UsageError: there is no such name or key, or a value is not possible.

    Example:
        >>> sizes_from({"like": "tiny", "num_hidden_layers": 1}).hidden_size
        64
    """
    if isinstance(given, str):
        if given not in SIZES:
            raise UsageError(f"the size {given!r} of Wav2Vec2 is not one of {', '.join(SIZES)}")
        return SIZES[given]
    changes = dict(given)
    found = asdict(sizes_from(changes.pop("like", "base")))
    for name, value in changes.items():
        if name not in found:
            allowed = ", ".join(entry.name for entry in fields(Wav2Vec2Sizes))
            raise UsageError(f"Wav2Vec2 has no size {name!r}; there are like, {allowed}")
        value = tuple(value) if isinstance(value, list) else value
        if type(value) is not type(found[name]):
            raise UsageError(f"{name} of Wav2Vec2 must be a value like {found[name]!r}, found {value!r}")
        found[name] = value
    return Wav2Vec2Sizes(**found)


class KeywordWav2Vec2(nn.Module):
    """Waves to logits.

    Args:
        network: of transformers; it becomes a part of this, without masks, which draw numbers that nobody can repeat.
        normalises: whether waves are brought to mean 0 and variance 1 first, silence around them included.
    """

    def __init__(self, network: transformers.Wav2Vec2ForSequenceClassification, normalises: bool = True) -> None:
        super().__init__()
        network.config.apply_spec_augment = False
        network.config.layerdrop = 0.0
        masked = getattr(network.wav2vec2, "masked_spec_embed", None)
        if masked is not None:
            masked.requires_grad_(False)
        self.network = network
        self.norm = nn.GroupNorm(1, 1, eps=_EPSILON, affine=False) if normalises else nn.Identity()

    @property
    def classes(self) -> tuple[str, ...]:
        """The words, in the order of logits."""
        names = self.network.config.id2label
        return tuple(names[number] for number in range(len(names)))

    @property
    def normalises(self) -> bool:
        """Whether waves are brought to mean 0 and variance 1 first."""
        return isinstance(self.norm, nn.GroupNorm)

    def forward(self, waves: Tensor) -> Tensor:
        """Logits, (B, classes).

        Args:
            waves: (B, 1, T) or (B, T) float32 at ``SAMPLE_RATE``.
        """
        normalised = self.norm(waves.flatten(1).unsqueeze(1))
        return self.network(normalised.flatten(1)).logits


def make_wav2vec2(classes: Sequence[str], sizes: Wav2Vec2Sizes, seed: int = 0) -> KeywordWav2Vec2:
    """A network with random weights, in test mode.

    Args:
        classes: the words, in the order of logits.
        sizes: how large it is.
        seed: of the weights.

    Example:
        >>> network = make_wav2vec2(["yes", "no"], SIZES["tiny"])
        >>> network(torch.zeros(3, 1, 16000)).shape
        torch.Size([3, 2])
    """
    names = asdict(sizes)
    dropout = names.pop("dropout")
    config = transformers.Wav2Vec2Config(
        **names,
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        feat_proj_dropout=dropout,
        mask_time_prob=0.0,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
        # torch's own form of attention has kernels of its own for each size, which differ in last bits.
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return KeywordWav2Vec2(transformers.Wav2Vec2ForSequenceClassification(config)).eval()
