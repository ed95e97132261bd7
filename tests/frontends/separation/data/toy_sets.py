"""Tiny trees of LibriMix and of MUSDB18-HQ, of sounds that are neither speech nor music."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from kaldi_quant.frontends.separation.networks.known import STEMS, Kind

RATE = 8000


def no_network() -> None:
    raise AssertionError("data need no network")


SPEECH = Kind(no_network, RATE)  # type: ignore[arg-type]
MUSIC = Kind(no_network, RATE, sources=STEMS, is_ordered=True, channels=2)  # type: ignore[arg-type]


def sound(seed: int, samples: int, channels: int = 1) -> np.ndarray:
    """(samples, channels) float32."""
    return (0.1 * np.random.default_rng(seed).standard_normal((samples, channels))).astype(np.float32)


def write(path: Path, wave: np.ndarray, rate: int = RATE) -> Path:
    """Writes (n,) or (n, channels) as floats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return path


def libri_split(
    folder: Path, lengths: Sequence[int], rate: int = RATE, speakers: int = 2, offset: int = 0, mix: str = "mix_clean"
) -> Path:
    """A split's folders; of ``mix_both`` and ``mix_single`` noise is heard, too."""
    for number, samples in enumerate(lengths):
        name = f"{offset + number}.wav"
        waves = [sound(10 * (offset + number) + place, samples) for place in range(speakers + (mix != "mix_clean"))]
        for place, wave in enumerate(waves[:speakers]):
            write(folder / f"s{place + 1}" / name, wave, rate)
        write(folder / mix / name, np.sum(waves, axis=0), rate)
    return folder


def libri_table(table: Path, split: Path, base: Path | None = None, mix: str = "mix_clean", speakers: int = 2) -> Path:
    """LibriMix's table of a split; paths are relative to ``base``, or absolute where None."""
    columns = ["mixture_ID", "mixture_path", *(f"source_{place + 1}_path" for place in range(speakers)), "length"]
    rows = [",".join(columns)]
    for path in sorted((split / mix).iterdir()):
        paths = [path, *(split / f"s{place + 1}" / path.name for place in range(speakers))]
        shown = [str(one.relative_to(base)) if base else str(one) for one in paths]
        rows.append(",".join([f"id{path.stem}", *shown, str(soundfile.info(path).frames)]))
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(rows) + "\n")
    return table


def track(folder: Path, seed: int, samples: int, rate: int = RATE) -> Path:
    """A track whose mixture is not quite the sum of its stems, and has a mean."""
    stems = [sound(10 * seed + place, samples, 2) + np.float32(0.02) for place in range(len(STEMS))]
    for name, wave in zip(STEMS, stems, strict=True):
        write(folder / f"{name}.wav", wave, rate)
    write(folder / "mixture.wav", np.sum(stems, axis=0) * np.float32(1.01), rate)
    return folder
