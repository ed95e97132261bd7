"""Recordings as training takes them: other minibatches on each pass, moved in time, louder or softer, with noise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.frontends.keywords.data import Batch, Recording, load_batches
from kaldi_quant.torchnn.batches import Passes
from kaldi_quant.units import Seconds

# Noise is at most so many dB softer than ``Changes.noise`` allows it to be loud.
_RANGE_OF_NOISE = 40.0


@dataclass(frozen=True)
class Changes:
    """How recordings are changed at random.

    Args:
        shift: in time, in either direction, up to so much.
        speed: faster or slower, and higher or lower with it, by up to this share.
        gain: in dB, louder or softer, up to so much.
        noise: white noise is so many dB below the recording, or softer; 0 for none.
    """

    shift: Seconds = 0.0
    speed: float = 0.0
    gain: float = 0.0
    noise: float = 0.0

    def apply(self, waves: Tensor, sample_rate: int, generator: torch.Generator) -> Tensor:
        """waves: (B, 1, T) float32 → the same shape; what is moved beyond the ends is lost."""
        count, _, length = waves.shape
        if self.shift or self.speed:
            most = self.shift * sample_rate
            begin = most * (2 * torch.rand(count, 1, generator=generator) - 1)
            speed = 1 + self.speed * (2 * torch.rand(count, 1, generator=generator) - 1)
            waves = _resampled(waves, torch.arange(length) * speed - begin)
        if self.gain:
            waves = waves * _amplitude(self.gain * (2 * torch.rand(count, 1, 1, generator=generator) - 1))
        if self.noise:
            below = self.noise + _RANGE_OF_NOISE * torch.rand(count, 1, 1, generator=generator)
            power = waves.square().mean(2, keepdim=True).sqrt()
            waves = waves + torch.randn(waves.shape, generator=generator) * power * _amplitude(-below)
        return waves


def _resampled(waves: Tensor, places: Tensor) -> Tensor:
    """Waves, (B, 1, T), between whose samples is interpolated at other places, (B, T), and which are 0 beyond."""
    length = waves.shape[2]
    across = (2 * places + 1) / length - 1
    grid = torch.stack([across, torch.zeros_like(across)], dim=2).unsqueeze(1)
    return functional.grid_sample(waves.unsqueeze(2), grid, align_corners=False).squeeze(2)


def _amplitude(decibels: Tensor) -> Tensor:
    return 10 ** (decibels / 20)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """The answers that labels, (B,), ask for: (B, 1, classes) float32."""
    return functional.one_hot(labels, classes).float().unsqueeze(1)


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """(): the mean negative log-likelihood of answers; of labels it is what ``nll_loss`` gives.

    Args:
        output: (B, 1, classes), log-probabilities.
        target: (B, 1, classes), probabilities.
    """
    return -(target * output).sum(-1).mean()


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """(): the share of rows, (B, 1, classes), of which the greatest value is at the same place."""
    return (output.argmax(-1) == target.argmax(-1)).float().mean()


class Examples(Passes):
    """Minibatches of training: waves, and what is to be answered.

    Args:
        recordings: those of the training split.
        classes: how many there are.
        sample_rate: of the waves, in Hz.
        batch_size: recordings in a minibatch.
        changes: at random.
        seed: of order and changes.
        teacher: a float network whose answers are learned, too.
        share: of the teacher's answers in what is learned; the rest are the labels.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        classes: int,
        sample_rate: int,
        batch_size: int,
        changes: Changes = Changes(),
        seed: int = 0,
        teacher: nn.Module | None = None,
        share: float = 0.0,
    ) -> None:
        self.classes, self.changes, self.seed, self.teacher, self.share = classes, changes, seed, teacher, share
        self.batches = load_batches(recordings, sample_rate=sample_rate, batch_size=batch_size, seed=seed)

    def __len__(self) -> int:
        """Minibatches of a pass."""
        return len(self.batches)

    def minibatches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(waves, answers) pairs: (B, 1, T) and (B, 1, classes) float32."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        self.batches.passes = number
        for batch in self.batches:
            waves = self.changes.apply(batch.waves, self.batches.sample_rate, generator)
            yield waves, self._answers(batch, waves)

    @torch.no_grad()
    def _answers(self, batch: Batch, waves: Tensor) -> Tensor:
        labels = one_hot(batch.labels, self.classes)
        if self.teacher is None or not self.share:
            return labels
        return (1 - self.share) * labels + self.share * self.teacher(waves).exp()

    def digest(self) -> str:
        """What tells the recordings, by name, size and time, and all settings from others."""
        batches = self.batches
        settings = (batches.sample_rate, batches.batch_size, self.classes, self.seed, self.share)
        found = hashlib.sha256(repr((settings, astuple(self.changes))).encode())
        for recording in batches.recordings:
            state = recording.path.stat()
            found.update(repr((recording.name, recording.label, state.st_size, state.st_mtime_ns)).encode())
        return found.hexdigest()


def held_out(
    recordings: Sequence[Recording], classes: int, sample_rate: int, batch_size: int
) -> list[tuple[Tensor, Tensor]]:
    """Minibatches as they are, with the answers that labels ask for."""
    found = load_batches(recordings, sample_rate=sample_rate, batch_size=batch_size)
    return [(batch.waves, one_hot(batch.labels, classes)) for batch in found]


def drawn(recordings: Sequence[Recording], number: int, sample_rate: int, batch_size: int, seed: int) -> list[Tensor]:
    """The waves of some recordings that are drawn at random, (B, 1, T) each: the calibration set."""
    order = torch.randperm(len(recordings), generator=torch.Generator().manual_seed(seed))[:number].tolist()
    chosen = [recordings[place] for place in order]
    return [batch.waves for batch in load_batches(chosen, sample_rate=sample_rate, batch_size=batch_size)]
