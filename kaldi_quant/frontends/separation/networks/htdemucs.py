"""HTDemucs: a branch of spectra and one of waves, with a transformer between their encoders and their decoders.

S. Rouard, F. Massa and A. Défossez, "Hybrid Transformers for Music Source Separation", 2023. Sizes, the order of layers
and the names of parameters are those of demucs 4, whose arguments these are, too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.networks.complex_channels import Analysis, Synthesis
from kaldi_quant.frontends.separation.networks.cross_transformer import CrossTransformer
from kaldi_quant.frontends.separation.networks.htdemucs_layers import (
    DecoderLayer,
    EncoderLayer,
    FrequencyEmbedding,
    ResidualBranch,
    rescale,
)
from kaldi_quant.frontends.separation.networks.known import NETWORKS, STEMS, Kind


class HTDemucsCore(nn.Module):
    """The network without its transform.

    Args:
        sources: how many there are.
        audio_channels: of the mixture and of each source.
        channels: behind the first layer.
        growth: by how many times they are more behind each other layer.
        nfft: points of the transform.
        depth: layers of each encoder and each decoder.
        kernel_size: of convolutions over bins and samples, twice the stride.
        stride: of these.
        context: neighbours on each side that decoders see.
        dconv_mode: where residual branches are: 1 in encoders, 2 in decoders, 3 in both.
        dconv_depth: convolutions of such a branch.
        dconv_comp: by how many times channels are fewer there.
        bottom_channels: of the transformer; 0 for those of the last layer.
        t_layers: of the transformer.
        t_heads: of its attention.
        t_hidden_scale: by how many times channels are more where they are fed forward.
        t_dropout: the share of values that training drops there.

    Raises:
        UsageError: sizes do not fit each other.
    """

    channel_upsampler: nn.Module
    channel_downsampler: nn.Module
    channel_upsampler_t: nn.Module
    channel_downsampler_t: nn.Module

    def __init__(
        self,
        sources: int = len(STEMS),
        audio_channels: int = 2,
        channels: int = 48,
        growth: int = 2,
        nfft: int = 4096,
        depth: int = 4,
        kernel_size: int = 8,
        stride: int = 4,
        context: int = 1,
        dconv_mode: int = 1,
        dconv_depth: int = 2,
        dconv_comp: float = 8,
        bottom_channels: int = 0,
        t_layers: int = 5,
        t_heads: int = 8,
        t_hidden_scale: float = 4.0,
        t_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        bins = nfft // 2
        if (
            kernel_size != 2 * stride
            or stride % 2
            or bins % stride**depth
            or bins // stride ** (depth - 1) <= kernel_size
        ):
            raise UsageError(
                f"transforms of {nfft} points, {depth} layers, kernels of {kernel_size} and strides of {stride}: "
                "expected an even stride, kernels twice as long, and bins that each layer can divide, more than its "
                "kernel has"
            )
        self.sources = sources
        self.encoder, self.decoder, self.tencoder, self.tdecoder = (nn.ModuleList() for _ in range(4))
        # Signals of the spectra's branch have real and imaginary parts.
        for parts, encoder, decoder in ((2, self.encoder, self.decoder), (1, self.tencoder, self.tdecoder)):
            common: dict[str, Any] = {"over_frequency": parts == 2, "kernel": kernel_size, "stride": stride}
            before, given = parts * audio_channels, parts * audio_channels * sources
            for place in range(depth):
                after = channels * growth**place
                branches = [
                    ResidualBranch(after, dconv_depth, dconv_comp) if dconv_mode & half else None for half in (1, 2)
                ]
                encoder.append(EncoderLayer(before, after, branches[0], **common))
                decoder.insert(0, DecoderLayer(after, given, branches[1], context, place == 0, **common))
                before = given = after
        self.freq_emb = FrequencyEmbedding(bins // stride, channels)
        rescale(self)
        inner = channels * growth ** (depth - 1)
        for branch in ("", "_t") if bottom_channels else ():
            self.add_module(f"channel_upsampler{branch}", nn.Conv1d(inner, bottom_channels, 1))
            self.add_module(f"channel_downsampler{branch}", nn.Conv1d(bottom_channels, inner, 1))
        self.bottom_channels = bottom_channels
        self.crosstransformer = CrossTransformer(bottom_channels or inner, t_heads, t_layers, t_hidden_scale, t_dropout)

    def forward(self, spectrum: Tensor, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Sources as (N, sources, 2 * channels, bins, frames), and as (N, sources, channels, samples), to be added up.

        Args:
            spectrum: (N, 2 * channels, bins, frames).
            wave: (N, channels, samples); as long as so many frames.
        """
        kept, kept_t = [], []
        for place, (encoder, tencoder) in enumerate(zip(self.encoder, self.tencoder, strict=True)):
            length, length_t = spectrum.shape[2], wave.shape[2]
            spectrum, wave = encoder(spectrum), tencoder(wave)
            spectrum = spectrum if place else self.freq_emb(spectrum)
            kept.append((spectrum, length))
            kept_t.append((wave, length_t))
        spectrum, wave = self._transformed(spectrum, wave)
        for decoder, tdecoder in zip(self.decoder, self.tdecoder, strict=True):
            spectrum, wave = decoder(spectrum, *kept.pop()), tdecoder(wave, *kept_t.pop())
        return spectrum.unflatten(1, (self.sources, -1)), wave.unflatten(1, (self.sources, -1))

    def _transformed(self, spectrum: Tensor, wave: Tensor) -> tuple[Tensor, Tensor]:
        if not self.bottom_channels:
            return self.crosstransformer(spectrum, wave)
        bins = spectrum.shape[2]
        spectrum = self.channel_upsampler(spectrum.flatten(2)).unflatten(2, (bins, -1))
        spectrum, wave = self.crosstransformer(spectrum, self.channel_upsampler_t(wave))
        spectrum = self.channel_downsampler(spectrum.flatten(2)).unflatten(2, (bins, -1))
        return spectrum, self.channel_downsampler_t(wave)


class HTDemucs(HTDemucsCore):
    """The network: mixtures (N, channels, samples) to sources (N, sources, channels, samples).

    It was trained with mixtures of one length, ``Kind.segment``; demucs puts zeros behind shorter ones.

    Args:
        sizes: as of ``HTDemucsCore``.

    Example:
        >>> network = HTDemucs(channels=8, nfft=512, depth=2, t_layers=1)
        >>> network(torch.randn(1, 2, 8001)).shape
        torch.Size([1, 4, 2, 8001])
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        nfft = sizes.get("nfft", 4096)
        self.analysis, self.synthesis = Analysis(nfft), Synthesis(nfft)
        self._sizes = sizes

    def forward(self, mixture: Tensor) -> Tensor:  # type: ignore[override]
        """See above."""
        spectrum, wave, level, level_of_wave = self.analysis(mixture)
        return self.synthesis(*super().forward(spectrum, wave), level, level_of_wave)

    def core(self) -> HTDemucsCore:
        """The network without its transform, with the same modules."""
        found = HTDemucsCore(**self._sizes)
        for name, _ in list(found.named_children()):
            setattr(found, name, getattr(self, name))
        return found.train(self.training)


#: Of the reduced network: frames of 128 ms every 32 ms, each of 8 places for the transformer, which has 2 layers.
_SMALL: dict[str, Any] = {
    "channels": 8,
    "nfft": 1024,
    "depth": 3,
    "dconv_comp": 4,
    "t_layers": 2,
    "t_heads": 4,
    "t_hidden_scale": 2.0,
}


def _kind(sizes: dict[str, Any], rate: int, depth: int) -> Kind:
    last = depth - 1
    return Kind(
        partial(HTDemucs, **sizes),
        rate,
        STEMS,
        is_ordered=True,
        channels=2,
        encoders=("encoder.0.conv", "tencoder.0.conv"),
        decoders=(f"decoder.{last}.conv_tr", f"tdecoder.{last}.conv_tr"),
    )


NETWORKS.add("htdemucs")(_kind({}, 44100, 4))
NETWORKS.add("htdemucs-small")(_kind(_SMALL, 8000, 3))
