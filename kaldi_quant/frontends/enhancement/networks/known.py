"""The networks by name, each with what stands around it: its transform, and what its values mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from kaldi_quant.frontends.enhancement.networks.conv_lstm import ConvLSTMDenoiser
from kaldi_quant.frontends.enhancement.networks.crn import crn_100k, crn_original
from kaldi_quant.frontends.enhancement.networks.decomposed_lstm import replace_lstm
from kaldi_quant.frontends.enhancement.networks.stft_tcnn import STFTTCNN
from kaldi_quant.frontends.enhancement.networks.tcn import TCN
from kaldi_quant.frontends.signals.transforms import TRANSFORMS, Transform, with_magnitude
from kaldi_quant.registry import Registry

#: Frames or bins come before the other.
Layout = Literal["frames-bins", "bins-frames"]
#: A mask multiplies the noisy magnitude, a magnitude takes its place.
Output = Literal["mask", "magnitude"]


@dataclass(frozen=True)
class Around:
    """What stands around a network.

    Args:
        transform: a name of ``TRANSFORMS``.
        layout: of its input and its output, behind the batch.
        output: what its output is.
    """

    transform: str = "hamming-320"
    layout: Layout = "frames-bins"
    output: Output = "mask"

    @property
    def stft(self) -> Transform:
        """Its transform."""
        return TRANSFORMS[self.transform]

    def inputs(self, spectrum: Tensor) -> Tensor:
        """What the network is called with: magnitudes, for spectra (N, T, bins)."""
        return self._frames_first(spectrum.abs())

    def _frames_first(self, values: Tensor) -> Tensor:
        """(N, T, bins) to and from the layout of the network."""
        return values if self.layout == "frames-bins" else values.transpose(1, 2)

    def enhanced(self, spectrum: Tensor, output: Tensor) -> Tensor:
        """Enhanced spectra (N, T, bins) from noisy ones and the network's output for them."""
        found = self._frames_first(output)
        return spectrum * found if self.output == "mask" else with_magnitude(spectrum, found)

    def magnitude(self, noisy: Tensor, output: Tensor) -> Tensor:
        """The magnitudes of ``enhanced``, (N, T, bins), from noisy ones (N, T, bins)."""
        found = self._frames_first(output)
        return noisy * found.abs() if self.output == "mask" else found

    def enhance(self, network: Callable[[Tensor], Tensor], waves: Tensor) -> Tensor:
        """Enhanced waves (N, samples) of noisy ones."""
        spectrum = self.stft.spectrum(waves)
        return self.stft.waves(self.enhanced(spectrum, network(self.inputs(spectrum))), waves.shape[-1])


@dataclass(frozen=True)
class Kind:
    """A network that can be built.

    Args:
        build: makes one of random weights; keyword arguments change its sizes.
        around: what stands around it.
    """

    build: Callable[..., nn.Module]
    around: Around


def _decomposed(separate_weights: bool = False, **sizes: Any) -> nn.Module:
    return replace_lstm(ConvLSTMDenoiser(**sizes), separate_weights)


_ZOO = Around("hann-512", "bins-frames")
NETWORKS: Registry[Kind] = Registry("enhancement network")
NETWORKS.add("crn")(Kind(crn_original, Around(output="magnitude")))
NETWORKS.add("crn-100k")(Kind(crn_100k, Around()))
NETWORKS.add("tcn-100k")(Kind(TCN, Around()))
NETWORKS.add("stft-tcnn")(Kind(STFTTCNN, _ZOO))

NETWORKS.add("stft-tcnn-causal")(Kind(partial(STFTTCNN, causal=True), _ZOO))
NETWORKS.add("conv-lstm")(Kind(ConvLSTMDenoiser, _ZOO))
NETWORKS.add("conv-lstm-decomposed")(Kind(_decomposed, _ZOO))
