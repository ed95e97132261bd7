"""A folder of spoken digits that are tones: three classes, told apart within an epoch or two."""

from pathlib import Path

import numpy as np

from tests.wav_files import wav_file

RATE = 8000
CLASSES = 3
# As the layout splits them: 0 to 4 test, 5 to 9 development, from 10 on training.
INDICES = (*range(3), *range(5, 8), *range(10, 26))


def toy_words(folder: Path, classes: int = CLASSES) -> Path:
    """Writes the folder, and returns it."""
    random = np.random.default_rng(0)
    times = np.arange(RATE) / RATE
    for word in range(classes):
        for index in INDICES:
            path = folder / "recordings" / f"{word}_somebody_{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            pitch = (300, 900, 2100, 3300)[word] * random.uniform(0.95, 1.05)
            wave = 8000 * np.sin(2 * np.pi * (pitch * times + random.uniform())) + random.normal(0, 200, RATE)
            path.write_bytes(wav_file(wave.astype(np.int16), rate=RATE))
    return folder
