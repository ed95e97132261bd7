"""What of a folder is read: how many pairs, at which rate, from which places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.synthetic.seeds import seeded
from kaldi_quant.settings import above_0
from kaldi_quant.units import Hertz, Seconds

#: How many: a number, a share of what there is, or all.
Number = int | float | None
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class ReadOptions:
    """What of a folder is read; a layout takes what it has a use for.

    Args:
        sample_rate: of all waves, in Hz; files of other rates are resampled, both of a pair alike. MBQAT's
            files do not tell their rate: it must be theirs.
        num_training_samples: pairs that training has, a whole number, a share from 0 to 1, or None for all; a seeded
            draw. For ``mbqat``, crops of a pass.
        num_validation_samples: those of development, likewise.
        num_test_samples: those of the test, likewise.
        random_seed: for these draws, and for what of training becomes development.
        validation_share: how much of training becomes development where a layout has none.
        n_speakers: Valentini's training set, 28 or 56; None for the only one that is there.
        file_extension: of parallel folders.
        clean_train_files_path: of parallel folders, below the folder or absolute, as are the next three. Where both of
            a split are empty, it has no pairs.
        noisy_train_files_path: likewise.
        clean_test_files_path: likewise.
        noisy_test_files_path: likewise.
        speech_file: MBQAT's raw speech, below the folder or absolute, as are the next three.
        noise_file: MBQAT's raw noise.
        eval_file: MBQAT's ``.samp`` file for development; empty for the ends of the two raw files, ``validation_share``
            of each, which are no part of training then.
        test_path: the folder of MBQAT's ``.samp`` files.
        speech_len: of MBQAT's crops, in s.

    Raises:
        UsageError: a number is none of these.
    """

    sample_rate: Hertz = 16000
    num_training_samples: Number = None
    num_validation_samples: Number = None
    num_test_samples: Number = None
    random_seed: int = 0
    validation_share: float = 0.1
    n_speakers: int | None = None
    file_extension: str = "wav"
    clean_train_files_path: str = "clean_train"
    noisy_train_files_path: str = "noisy_train"
    clean_test_files_path: str = "clean_test"
    noisy_test_files_path: str = "noisy_test"
    speech_file: str = "speech.bin"
    noise_file: str = "noise.bin"
    eval_file: str = ""
    test_path: str = "test"
    speech_len: Seconds = 6.0

    def __post_init__(self) -> None:
        above_0("reading", {"sample_rate": self.sample_rate, "speech_len": self.speech_len})
        if not 0 < self.validation_share < 1:
            raise UsageError(f"validation_share must be above 0 and below 1, found {self.validation_share}")
        for name, value in self.numbers.items():
            if isinstance(value, bool) or (value is not None and not (_is_count(value) or _is_share(value))):
                raise UsageError(
                    f"number of samples of {name}: expected a whole number above 0, a share above 0 and up to 1, or "
                    f"nothing for all, found {value!r}"
                )

    @property
    def parallel_folders(self) -> tuple[str, str, str, str]:
        """Clean and noisy folder of training, clean and noisy folder of the test."""
        return (
            self.clean_train_files_path,
            self.noisy_train_files_path,
            self.clean_test_files_path,
            self.noisy_test_files_path,
        )

    @property
    def numbers(self) -> dict[str, Number]:
        """The numbers of samples by split."""
        return {
            "train": self.num_training_samples,
            "dev": self.num_validation_samples,
            "test": self.num_test_samples,
        }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _is_share(value: object) -> bool:
    return isinstance(value, float) and 0 < value <= 1


def count_of(number: Number, length: int) -> int:
    """How many of so many there are; at least 1 of those that there are, and no more than all.

    Example:
        >>> count_of(None, 30), count_of(0.1, 30), count_of(7, 30), count_of(70, 30)
        (30, 3, 7, 30)
    """
    if number is None:
        return length
    return min(length, number if isinstance(number, int) else max(1, round(number * length)))


def kept(entries: Sequence[Entry], number: Number, split: str, seed: int) -> list[Entry]:
    """A seeded draw of entries, in their order."""
    places = seeded(seed, "subset", split).permutation(len(entries))[: count_of(number, len(entries))]
    return [entries[place] for place in sorted(places)]
