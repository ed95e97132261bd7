"""NSNet2 quantized: in integers with states in and out, and taught by the float network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.api.quantization import Quantized, quantize
from kaldi_quant.api.training import qat
from kaldi_quant.errors import DataError
from kaldi_quant.frontends.keywords.networks.nsnet2 import NSNet2
from kaldi_quant.frontends.keywords.suppression.config import DistillConfig
from kaldi_quant.frontends.keywords.suppression.enhancement import (
    LEAST_GAIN,
    features_of,
    stft_of_bins,
)
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.quant.presets import read_preset
from kaldi_quant.torchnn.batches import LossFunction

#: Of the network's results the first one, the gains, is its output.
_GAINS = 0
# Below this the derivative of a compressed magnitude has no bound.
_LEAST_MAGNITUDE = 1e-5


def quantize_nsnet2(network: NSNet2, recordings: Sequence[Array], config: str | PtqConfig = "w8a8") -> Quantized:
    """Quantizes the network after training.

    It takes features and states, and gives gains and the states after the last frame, as ``NSNet2`` does, so that
    a stream can be enhanced.

    Args:
        network: in float.
        recordings: to calibrate on, (samples,) each with noise; never test data.
        config: a preset's name, or a configuration.

    Raises:
        UsageError: there is no such preset.
        DataError: a recording cannot be used, or there is none.

    Example:
        >>> quantized = quantize_nsnet2(load_nsnet2(), recordings)
        >>> suppressor = Suppressor.of(load_nsnet2()).with_network(quantized.network.model())
    """
    stft, states = stft_of_bins(network.bins), network.states()
    inputs = [(features_of(stft.spectrum(recording)), *states) for recording in recordings]
    return quantize(TorchNetwork(network.eval(), output=_GAINS), config, calibration=inputs)


def with_recurrent_ranges(preset: str, ranges: str) -> PtqConfig:
    """A preset whose recurrent products have static or dynamic ranges.

    Raises:
        UsageError: there is no such preset, or no such kind of ranges.
    """
    one_of("recurrent_ranges", ranges, ("static", "dynamic"))
    found = read_preset(preset)
    if ranges == "static":
        return found
    of_recurrent = {**found.layers.get("@recurrent", {}), "ranges": ranges}
    return replace(found, layers={**found.layers, "@recurrent": of_recurrent})


def distil_nsnet2(
    quantized: Quantized,
    network: NSNet2,
    recordings: Sequence[Array],
    options: DistillConfig,
    rate: int,
    folder: Path | None = None,
) -> Quantized:
    """Trains a quantized network to give the float network's gains.

    Args:
        quantized: from ``quantize_nsnet2``.
        network: in float.
        recordings: (samples,) each with noise; never test data.
        options: how.
        rate: of the recordings.
        folder: of the training; an interrupted one goes on there.

    Raises:
        DataError: the recordings are shorter than a piece altogether.
    """
    return qat(
        quantized,
        list(_batches(network, recordings, options, rate)),
        loss=gain_loss(options.gain, options.compression),
        epochs=options.n_epoch,
        lr_initial=options.lr,
        lr_final=options.lr_final,
        folder=folder,
    )


def gain_loss(share: float, compression: float) -> LossFunction:
    """The loss of gains beside those of the teacher, (N, T, bins), and magnitudes, together (2, N, T, bins).

    Args:
        share: of the gains' squared error; the rest is that of what is left of the magnitudes, compressed, as in S.
            Braun and I. Tashev, "A consolidated view of loss functions for supervised deep learning-based speech
            enhancement", 2021; divided by the mean square of these, so that no loudness counts more.
        compression: the power of magnitudes.
    """

    def loss(gains: Tensor, target: Tensor) -> Tensor:
        wanted, magnitudes = target.unbind(0)
        of_gains = (gains - wanted).square().mean()
        left, expected = ((g.clamp_min(LEAST_GAIN) * magnitudes) ** compression for g in (gains, wanted))
        of_magnitudes = (left - expected).square().mean() / expected.square().mean()
        return share * of_gains + (1 - share) * of_magnitudes

    return loss


def _batches(
    network: NSNet2, recordings: Sequence[Array], options: DistillConfig, rate: int
) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    """Minibatches: features and states, and the target of ``gain_loss``.

    A piece begins anywhere in a recording, with the float network's states there.
    """
    stft = stft_of_bins(network.bins)
    frames = max(1, round(options.seconds * rate / stft.hop))
    pieces: list[tuple[Tensor, ...]] = []
    for number, recording in enumerate(recordings):
        spectrum = stft.spectrum(recording)
        begin = int(np.random.default_rng([options.seed, number]).integers(frames))
        pieces += _pieces(network, spectrum, begin, frames)
    if not pieces:
        raise DataError(f"no recording for distillation is as long as {options.seconds:g} seconds")
    order = np.random.default_rng(options.seed).permutation(len(pieces))
    for place in range(0, len(pieces), options.batch_size):
        chosen = [pieces[i] for i in order[place : place + options.batch_size]]
        features, first, second, target = zip(*chosen, strict=True)
        inputs = (torch.cat(features), torch.cat(first, 1), torch.cat(second, 1))
        yield inputs, torch.cat(target, 1)


def _pieces(network: NSNet2, spectrum: Array, begin: int, frames: int) -> Iterator[tuple[Tensor, ...]]:
    """Features (1, T, bins), both states, and the target (2, 1, T, bins), of each piece."""
    magnitudes = torch.from_numpy(np.maximum(np.abs(spectrum), _LEAST_MAGNITUDE).astype(np.float32))[None]
    features, states = features_of(spectrum), network.states()
    with torch.no_grad():
        if begin:
            states = network(features[:, :begin], *states)[1:]
        for place in range(begin, features.shape[1] - frames + 1, frames):
            piece = features[:, place : place + frames]
            gains, *after = network(piece, *states)
            target = torch.stack([gains.clamp_min(LEAST_GAIN), magnitudes[:, place : place + frames]])
            yield piece, *states, target
            states = (after[0], after[1])
