"""Speech that is none, and folders of it, for tests of data for enhancement."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
ROWS = "name split speaker file start samples noise snr room text".replace(" ", "\t")


def tone(place: int, samples: int = 3200, gain: float = 0.1) -> np.ndarray:
    """(samples,) float32, another one for each place."""
    return (gain * np.sin(np.arange(samples) / (5 + place % 17))).astype(np.float32)


def write(path: Path, wave: np.ndarray, rate: int = RATE) -> Path:
    """Writes samples as floats, or as 16-bit integers for FLAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def lines() -> Iterator[str]:
    """The rows of a table: two speakers in each split, two utterances each."""
    for split in ("train", "dev", "test"):
        for speaker in ("a", "b"):
            for number in range(2):
                condition = "\t\t" if split == "train" else f"hum\t{5 * number}\t{('no', 'yes')[number]}"
                about = f"{split}-{speaker}{number}\t{split}\t{speaker}"
                yield f"{about}\t{split}-{speaker}.wav\t{3200 * number}\t3200\t{condition}\tla la"


def listed(folder: Path) -> Path:
    """A folder with a table."""
    folder.mkdir(exist_ok=True)
    for place, split in enumerate(("train", "dev", "test")):
        for other, speaker in enumerate(("a", "b")):
            write(folder / f"{split}-{speaker}.wav", tone(3 * place + other, 6400))
    (folder / "utterances.tsv").write_text("\n".join([ROWS, *lines()]) + "\n")
    return folder


def pairs(clean: Path, noisy: Path, names: list[str], ending: str = ".wav") -> None:
    """Folders of pairs; the noisy one is louder by 0.01."""
    for place, name in enumerate(names):
        write(clean / f"{name}{ending}", tone(place))
        write(noisy / f"{name}{ending}", tone(place) + np.float32(0.01))
