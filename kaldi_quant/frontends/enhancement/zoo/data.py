"""The clips of a run: pairs to train on, to choose by, to score; noisy ones to calibrate on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.data import (
    EnhancementSet,
    Pair,
    Pairs,
    ReadOptions,
    TrainingSource,
    read_enhancement,
)
from kaldi_quant.frontends.enhancement.data.reading import kept
from kaldi_quant.frontends.enhancement.zoo.checks import CUSTOM
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.front import ZooFront
from kaldi_quant.frontends.signals.audio import read_audio
from kaldi_quant.frontends.signals.stft import Array

_PARALLEL = "parallel-folders"
_FOLDERS = ("clean_train_files_path", "noisy_train_files_path", "clean_test_files_path", "noisy_test_files_path")


@dataclass(frozen=True)
class PreparedSource:
    """Pairs to train on, as ``preprocessing`` has them.

    Args:
        source: of them.
        front: that prepares waves.
    """

    source: TrainingSource
    front: ZooFront

    def __len__(self) -> int:
        return len(self.source)

    def item(self, index: int, number_of_pass: int) -> Pair:
        """As of the source."""
        return _prepared(self.source.item(index, number_of_pass), self.front)

    def digest(self) -> str:
        """As of the source."""
        return f"{self.source.digest()} {self.front.peak_normalize}"


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs to measure on, likewise.

    Args:
        pairs: of them.
        front: that prepares waves.
    """

    pairs: Pairs
    front: ZooFront

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        return _prepared(self.pairs[index], self.front)

    def __iter__(self) -> Iterator[Pair]:
        return (self[place] for place in range(len(self)))

    def digest(self) -> str:
        """As of the pairs."""
        return f"{self.pairs.digest()} {self.front.peak_normalize}"


def _prepared(pair: Pair, front: ZooFront) -> Pair:
    return replace(pair, noisy=front.normalized(pair.noisy), clean=front.normalized(pair.clean))


def read_data(config: ZooConfig, front: ZooFront) -> EnhancementSet:
    """The pairs that ``dataset`` describes.

    Raises:
        DataError: a folder is missing or empty, or files do not form pairs.
    """
    found = config.dataset
    number = found.num_validation_samples
    share: dict[str, Any] = {"validation_share": number} if isinstance(number, float) else {}
    options = ReadOptions(
        sample_rate=config.preprocessing.sample_rate,
        num_training_samples=found.num_training_samples,
        num_validation_samples=None if share else number,
        num_test_samples=found.num_test_samples,
        random_seed=found.random_seed,
        n_speakers=found.n_speakers,
        file_extension=found.file_extension.removeprefix("."),
        **share,
    )
    folder = Path(found.root_folder or ".").expanduser()
    layout = found.name
    if layout == CUSTOM:
        given = {name: getattr(found, name) for name in _FOLDERS}
        if not found.clean_train_files_path:
            given["noisy_train_files_path"] = None
        places: dict[str, Any] = {
            name: str(Path(path).expanduser().absolute()) if path else "" for name, path in given.items()
        }
        options, layout = replace(options, **places), _PARALLEL
    read = read_enhancement(folder, layout, reading=options)
    source = PreparedSource(read.train, front)
    return replace(read, train=source, dev=PreparedPairs(read.dev, front), test=PreparedPairs(read.test, front))


@dataclass(frozen=True)
class NoisyFiles(Sequence[Array]):
    """Clips of a folder, each (samples,) float32, read when they are asked for.

    Args:
        paths: of the files.
        config: with their rate.
        front: that prepares waves.
    """

    paths: Sequence[Path]
    config: ZooConfig
    front: ZooFront

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Array:  # type: ignore[override]
        return self.front.normalized(read_audio(self.paths[index], self.config.preprocessing.sample_rate))


@dataclass(frozen=True)
class NoisyOf(Sequence[Array]):
    """The noisy sides of pairs to train on, as of their first pass.

    Args:
        source: of the pairs.
        places: of those that are meant.
    """

    source: TrainingSource
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Array:  # type: ignore[override]
        return self.source.item(self.places[index], 0).noisy


def calibration_clips(config: ZooConfig, front: ZooFront) -> Sequence[Array]:
    """The noisy clips that ranges are found on: as many as are asked for, drawn by the seed, in their order.

    Raises:
        DataError: there are none.
    """
    asked = config.quantization
    folder = asked.noisy_quantization_files_path
    if folder is None and config.dataset.name == CUSTOM and not config.dataset.clean_train_files_path:
        # Nothing is compared: noisy speech alone will do.
        folder = config.dataset.noisy_train_files_path
    amount, seed = asked.num_quantization_samples, asked.random_seed
    if folder is not None:
        place, suffix = Path(folder).expanduser(), config.dataset.file_extension.removeprefix(".")
        paths = sorted(path for path in place.rglob(f"*.{suffix}") if path.is_file())
        if not paths:
            raise DataError(f"{folder} has no files that end with .{suffix}: expected noisy clips to calibrate on")
        return NoisyFiles(kept(paths, amount, "quantization", seed), config, front)
    source = read_data(config, front).train
    return NoisyOf(source, kept(range(len(source)), amount, "quantization", seed))
