"""Speech from the programs espeak-ng and flite."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kaldi_quant.errors import DataError, MissingDependencyError
from kaldi_quant.frontends.signals.audio import read_audio, resample
from kaldi_quant.frontends.synthetic.voices import ESPEAK, FLITE, Speaker
from kaldi_quant.units import Hertz

# Words per minute of espeak-ng's ordinary speech.
_ORDINARY_SPEED = 175
# A program that is not done by then will not be.
_TIMEOUT = 60.0


def check_programs() -> None:
    """Checks that both programs are there.

    Raises:
        MissingDependencyError: one is not; says what to install.
    """
    for program in (ESPEAK, FLITE):
        if shutil.which(program) is None:
            raise MissingDependencyError(
                f"synthetic speech needs the program {program}: apt-get install {ESPEAK} {FLITE}"
            )


def speak(speaker: Speaker, text: str, rate: Hertz, tempo: float = 1.0, pitch: int = 50) -> np.ndarray:
    """Has a text spoken.

    Args:
        speaker: who speaks.
        text: what.
        rate: of the result, in Hz.
        tempo: a factor on the usual speed.
        pitch: 0 to 99, lower or higher than usual; of espeak-ng's voices alone.

    Returns:
        (n,) float32.

    Raises:
        DataError: the program fails, or writes no audio.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        if speaker.program == ESPEAK:
            speed = str(round(_ORDINARY_SPEED * tempo))
            command = [ESPEAK, "-v", speaker.voice, "-p", str(pitch), "-s", speed, "-w", str(path), text]
        else:
            stretch = f"duration_stretch={1 / tempo:.3f}"
            command = [FLITE, "-voice", speaker.voice, "--setf", stretch, "-t", text, "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT)
        if done.returncode:
            raise DataError(f"{' '.join(command[:3])} failed: {' '.join(done.stderr.split()) or done.returncode}")
        wave = read_audio(path, rate)
    # Played faster or slower: all frequencies change alike, those of the vocal tract, too.
    return resample(wave, round(rate * speaker.formants), rate)
