"""WAV files of a test set as MBQAT's scripts write them: ``S000_babble_5_mix.wav``, ``…_tgt.wav`` and ``…_time.wav``.

``mix`` is the noisy speech, ``tgt`` the clean one, ``time`` what was made of the noisy one. Each file's loudest sample
is at full scale; recordings are numbered, as several may be of one noise and ratio.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from kaldi_quant.frontends.enhancement.scores.measured import ScoredPair
from kaldi_quant.frontends.predictions import FOLDER, chosen, files_in
from kaldi_quant.frontends.signals.audio import read_audio
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.signals.wave_files import peak_normalized, write_wav
from kaldi_quant.units import Hertz

NOISY, CLEAN, ENHANCED = "mix", "tgt", "time"
# What stands for a noise or a ratio that is not known.
_UNKNOWN = "x"
_LISTED = re.compile(rf"(?P<stem>S\d{{3,}}_.*)_(?P<what>{NOISY}|{CLEAN}|{ENHANCED})\.wav")


def stem_of(number: int, pair: ScoredPair) -> str:
    """What the names of a recording's files begin with.

    Example:
        >>> stem_of(7, Pair("p232_001", noisy, clean, "babble", 2.5))
        'S007_babble_2.5'
    """
    noise = re.sub(r"[^\w-]", "-", pair.noise) or _UNKNOWN
    return f"S{number:03d}_{noise}_{_UNKNOWN if pair.snr is None else format(pair.snr, 'g')}"


def write_predictions(
    cell: Path, pairs: Iterable[ScoredPair], enhanced: Mapping[str, Array], rate: Hertz, numbers: Iterable[int] = ()
) -> list[Path]:
    """Writes recordings into a cell's folder ``est_predictions``, and returns the paths.

    Args:
        cell: its folder.
        pairs: the test set.
        enhanced: (S,) by name.
        rate: of all.
        numbers: which recordings, by their places; by default all.

    Raises:
        DataError: a recording was not enhanced, or a file cannot be written.
    """
    found = []
    for number, pair, made in chosen(pairs, enhanced, numbers, "enhanced"):
        waves = {NOISY: pair.noisy, CLEAN: pair.clean, ENHANCED: made}
        for what, wave in waves.items():
            path = cell / FOLDER / f"{stem_of(number, pair)}_{what}.wav"
            write_wav(path, peak_normalized(wave), rate)
            found.append(path)
    return found


def predictions_in(cell: Path) -> dict[str, dict[str, Path]]:
    """The recordings in a cell's folder: stem → mix, tgt or time → the file; those of which all three are there."""
    return {stem: files for stem, files in files_in(cell, _LISTED).items() if len(files) == 3}


def read_prediction(path: Path, rate: Hertz) -> Array:
    """(S,) float32 of such a file.

    Raises:
        DataError: it is missing or no audio.
    """
    return read_audio(path, rate)
