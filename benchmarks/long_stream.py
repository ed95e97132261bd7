"""Memory of a recogniser while one stream goes on: the example's recordings, again and again, with noise between them.

    python benchmarks/long_stream.py [--minutes 60] [--pauses 1.0]

Audio comes in pieces of 0.2 s; after each, the recogniser is asked for its partial result, and for the result where an
utterance has ended. Printed are, every few minutes of audio, the process's memory (RSS), how much of it came since the
first of these lines, the utterances so far and the real-time factor. ``--pauses 0`` leaves no pauses, so that
utterances end by their length.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from kaldi_quant.cores import prepare_libraries

EXAMPLE = Path(__file__).resolve().parent.parent / "egs" / "alphadigits"
FOLDER = EXAMPLE / "exp" / "chain" / "tdnnf1c_sp_online"


def resident() -> float:
    """The process's memory in MB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def speech(rate: int, pauses: float) -> Iterator[np.ndarray]:
    """Recordings of 16-bit samples, without end."""
    from kaldi_quant.recogniser.audio import read_recording

    random = np.random.default_rng(0)
    recordings = [read_recording(path)[0].astype(np.int16) for path in sorted((EXAMPLE / "wav").glob("*.wav"))]
    for recording in itertools.cycle(recordings):
        yield recording
        yield random.integers(-3, 4, int(pauses * rate)).astype(np.int16)


@click.command()
@click.option("--minutes", default=60.0, show_default=True, help="Of audio.")
@click.option("--pauses", default=1.0, show_default=True, help="Seconds between recordings.")
@click.option("--every", default=5.0, show_default=True, help="Minutes from line to line.")
def main(minutes: float, pauses: float, every: float) -> None:
    """Print memory while a stream goes on."""
    from kaldi_quant.recogniser.models import find_parts, open_model
    from kaldi_quant.recogniser.recognizer import Recognizer

    model = open_model(find_parts(FOLDER))
    rate = int(model.mfcc_options.sample_frequency)
    recognizer = Recognizer(model, rate)
    utterances, samples, first, next_line = 0, 0, 0.0, every
    begin = time.process_time()
    for recording in speech(rate, pauses):
        for piece in np.array_split(recording, range(recognizer.step, len(recording), recognizer.step)):
            samples += len(piece)
            if recognizer.AcceptWaveform(piece):
                recognizer.Result()
                utterances += 1
            else:
                recognizer.PartialResult()
        done = samples / rate / 60
        if done >= next_line:
            now = resident()
            first, next_line = first or now, next_line + every
            factor = (time.process_time() - begin) / (60 * done)
            print(
                f"{done:6.1f} min  {now:7.1f} MB  {now - first:+6.1f} MB  {utterances} utterances  {factor:.4f}",
                flush=True,
            )
        if done >= minutes:
            break


if __name__ == "__main__":
    prepare_libraries()
    main()
