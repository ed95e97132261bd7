"""Audio that a ``wav.scp`` names, whole or cut into segments.

Source: ``src/feat/wave-reader.cc``, ``src/featbin/extract-segments.cc``.
"""

import io
import math
import os
import struct
import wave
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.script_file import ScriptEntry, read_script
from kaldi_quant.kaldi.specifiers import parse_rspecifier
from kaldi_quant.kaldi.streams import is_pipe, open_stream, require_pipes
from kaldi_quant.kaldi.tables import OnBad
from kaldi_quant.kaldi.text_tables import read_text_map

Seconds = float

# extract-segments' defaults: how far a segment may end behind its recording, and how short it may be.
_MAX_OVERSHOOT: Seconds = 0.5
_MIN_SEGMENT: Seconds = 0.1
_LARGEST_FILE = 1 << 32


@dataclass(frozen=True)
class Wave:
    """Audio.

    Attributes:
        samples: (channels, samples) int16.
        rate: samples per second.
    """

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class Segment:
    """A part of a recording, from ``begin`` to ``end`` (to the recording's end where that is negative).

    ``channel`` is -1 where the recording has only one.
    """

    recording: str
    begin: Seconds
    end: Seconds
    channel: int = -1


def read_waves(
    rspecifier: str, allow_pipes: bool = False, segments: str = "", on_bad: OnBad | None = None
) -> Iterator[tuple[str, Wave]]:
    """Reads the audio of each utterance, in the order of the scp, or of the segments where they are given.

    Args:
        rspecifier: ``scp:wav.scp``; relative paths as in ``script_file``.
        allow_pipes: whether commands such as ``sph2pipe … |`` in the scp run.
        segments: a file of lines ``utterance recording begin end [channel]``; empty for whole recordings.
        on_bad: is called for each utterance that cannot be read, which is then left out; None makes it an error.

    Raises:
        UsageError: the rspecifier is no ``scp:``, or a command may not run.
        FormatError, DataError: a file is missing, or holds something else than 16-bit PCM.
    """
    parsed = parse_rspecifier(rspecifier)
    if not parsed.script:
        raise UsageError(f"{rspecifier!r}: audio is read through an scp, such as scp:data/test/wav.scp")
    entries = read_script(parsed.filename, allow_pipes)
    cuts = read_segments(segments) if segments else {key: Segment(key, 0.0, -1.0) for key in entries}
    recording, audio = "", None
    for utterance, segment in cuts.items():
        try:
            if segment.recording not in entries:
                raise DataError(f"utterance {utterance}: its recording {segment.recording} is not in {parsed.filename}")
            if audio is None or segment.recording != recording:
                audio, recording = read_wave(entries[segment.recording], allow_pipes), segment.recording
            found = _cut(utterance, audio, segment) if segments else audio
        except (DataError, FormatError) as error:
            if on_bad is None:
                raise
            on_bad(utterance, error)
            continue
        yield utterance, found


def read_segments(path: str | os.PathLike[str]) -> dict[str, Segment]:
    """Reads a ``segments`` file; returns utterance → segment.

    Raises:
        FormatError: the file is missing or a line is malformed.
    """
    segments: dict[str, Segment] = {}
    for utterance, words in read_text_map(path).items():
        try:
            if len(words) not in (3, 4):
                raise ValueError
            begin, end = float(words[1]), float(words[2])
            channel = int(words[3]) if len(words) == 4 else -1
            if not (math.isfinite(end) and begin >= 0) or (0 <= end <= begin):
                raise ValueError
        except ValueError:
            line = " ".join([utterance, *words])[:80]
            message = f"expected utterance, recording, begin and end in seconds, found {line!r}"
            raise FormatError(os.fspath(path), None, message) from None
        segments[utterance] = Segment(words[0], begin, end, channel)
    return segments


def read_wave(entry: ScriptEntry, allow_pipes: bool = False) -> Wave:
    """Reads one wav file, or the output of a command, whole.

    Raises:
        DataError: it is missing or holds something else than 16-bit PCM.
        UsageError: it is a command and ``allow_pipes`` is False.
    """
    if is_pipe(entry.filename):
        require_pipes(entry.filename, allow_pipes, f"{entry.where}: ")
    try:
        stream = open_stream(entry.filename, allow_pipes)
        try:
            if entry.offset:
                stream.seek(entry.offset)
            data = stream.read_up_to(_LARGEST_FILE)
            stream.finish()
        finally:
            stream.close()
    except KaldiQuantError as error:
        raise DataError(f"utterance {entry.key} ({entry.where}): {error}") from error
    try:
        with wave.open(io.BytesIO(data)) as reader:
            channels, width, rate = reader.getnchannels(), reader.getsampwidth(), reader.getframerate()
            if width != 2:
                raise wave.Error(f"{8 * width} bits per sample")
            frames = reader.readframes(reader.getnframes())
    except (wave.Error, EOFError, struct.error, RuntimeError, ValueError) as error:
        reason = str(error) or "the file ends early"
        raise DataError(
            f"utterance {entry.key}: expected a wav file of 16-bit PCM in {entry.filename.strip()}, found: {reason}"
        ) from error
    frames = frames[: len(frames) - len(frames) % (2 * channels)]
    if not frames or rate < 1:
        raise DataError(f"utterance {entry.key}: {entry.filename.strip()} holds no samples")
    return Wave(np.frombuffer(frames, "<i2").reshape(-1, channels).T, rate)


def _cut(utterance: str, audio: Wave, segment: Segment) -> Wave:
    length = audio.samples.shape[1] / audio.rate
    end = segment.end
    if segment.begin >= length or end > length + _MAX_OVERSHOOT:
        raise DataError(
            f"utterance {utterance}: its segment from {segment.begin:g} to {end:g} s lies outside "
            f"{segment.recording}, which lasts {length:.2f} s"
        )
    if end < 0 or end > length:
        end = length
    if end - segment.begin < _MIN_SEGMENT:
        raise DataError(f"utterance {utterance}: its segment of {end - segment.begin:.3f} s is too short")
    samples = audio.samples
    if segment.channel >= len(samples):
        raise DataError(f"utterance {utterance}: {segment.recording} has no channel {segment.channel}")
    if segment.channel >= 0:
        samples = samples[segment.channel : segment.channel + 1]
    return Wave(samples[:, int(segment.begin * audio.rate) : int(end * audio.rate)], audio.rate)
