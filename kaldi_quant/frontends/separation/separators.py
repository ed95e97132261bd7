"""What separates recordings: a network of a float checkpoint, an integer model, an ONNX file, or a cell's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError, ModelError
from kaldi_quant.frontends import network_files
from kaldi_quant.frontends.separation.chunks import Chunks, separate_in_chunks
from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.separation.training.checkpoint import read_network
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.units import Seconds

#: Under this key the record of an integer model names its network, as in ``{"separation": {"network": "htdemucs"}}``.
RECORD_KEY = "separation"
# Shorter recordings are lengthened by silence: networks want some frames.
_SHORTEST: Seconds = 0.1


@dataclass(frozen=True)
class Separator:
    """What separates recordings.

    Args:
        name: in tables and folders.
        kind: of the network.
        run: (N, S, C, T) float32 for mixtures (N, C, T).
        path: of the network's file; None without one.
        samples: the one length of mixtures that the network takes; None for any.
    """

    name: str
    kind: Kind
    run: Callable[[Tensor], Tensor]
    path: Path | None = None
    samples: int | None = None

    def separate(self, mixture: Array, chunks: Chunks | None = None, normalize: bool = False) -> Array:
        """The sources of a recording of any length.

        Args:
            mixture: (C, T) of floats.
            chunks: how it is cut where it is longer; None for at once. A network of one length has pieces of that.
            normalize: brings what the network is called with, the whole or each piece, to the peak 1, and what it
                gives back to the level of the mixture.

        Returns:
            (S, C, T) float32.

        Raises:
            DataError: it is empty, has not as many channels as the network separates, or values that are not finite.
            ModelError: the network gives other shapes than its kind says.
        """
        mixture = self._checked(mixture)

        def separate(piece: Array) -> Array:
            peak = float(np.abs(piece).max()) if normalize else 0.0
            return self._run(piece / peak) * np.float32(peak) if peak else self._run(piece)

        length, samples = mixture.shape[1], self.samples
        if samples is None and chunks is not None:
            samples = chunks.samples(self.kind.rate)
        if samples is None or length <= samples:
            return separate(mixture)
        chunks = chunks or Chunks(samples / self.kind.rate)
        return separate_in_chunks(mixture, separate, samples, chunks, self.kind.is_ordered)

    def _checked(self, mixture: Array) -> Array:
        channels = self.kind.channels
        if mixture.ndim != 2 or not mixture.size:
            raise DataError(f"{self.name}: expected a mixture of channels and samples, found the shape {mixture.shape}")
        if len(mixture) != channels:
            raise DataError(
                f"{self.name} separates recordings of {_counted(channels)}, but this one has {_counted(len(mixture))}"
            )
        if not np.isfinite(mixture).all():
            raise DataError(f"{self.name}: the mixture holds values that are not finite (NaN or infinity)")
        return mixture.astype(np.float32, copy=False)

    @torch.no_grad()
    def _run(self, piece: Array) -> Array:
        length = piece.shape[1]
        wanted = self.samples or max(length, round(_SHORTEST * self.kind.rate))
        padded = np.pad(piece, ((0, 0), (0, wanted - length))) if length < wanted else piece
        found = self.run(torch.from_numpy(np.ascontiguousarray(padded))[None])
        expected = (1, len(self.kind.sources), self.kind.channels, wanted)
        if tuple(found.shape) != expected:
            raise ModelError(f"{self.name}: expected the network to give {expected}, found {tuple(found.shape)}")
        return found[0, ..., :length].numpy().astype(np.float32, copy=False)


def open_separator(name: str, what: str | Path, network: str = "") -> Separator:
    """What a file or a cell's folder stands for.

    Args:
        name: in tables.
        what: a float checkpoint, an integer model or an ONNX file; or a cell's folder.
        network: of ``NETWORKS``, where neither the file nor a ``cell.json`` beside it tells.

    Raises:
        FormatError: the file is broken, or none of these.
        ModelError: a checkpoint is one of another network.
        UsageError: it is not known which network it is.
    """
    path = network_files.file_of(what)
    opened = network_files.open_network(path, network, RECORD_KEY, read_network, ", ".join(NETWORKS))
    return Separator(name, NETWORKS[opened.name], opened.run, path, opened.samples)


def _counted(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"
