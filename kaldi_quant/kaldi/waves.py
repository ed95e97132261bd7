"""Audio that a table names, ``scp:wav.scp`` or ``ark:wav.ark``, whole or cut into segments.

Source: ``src/feat/wave-reader.h``, ``src/featbin/extract-segments.cc``.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.script_file import ScriptEntry, read_script
from kaldi_quant.kaldi.script_streams import ScriptStreams
from kaldi_quant.kaldi.specifiers import Rspecifier, parse_rspecifier
from kaldi_quant.kaldi.streams import ByteStream
from kaldi_quant.kaldi.tables import OnBad, read_table
from kaldi_quant.kaldi.text import to_integer, to_real
from kaldi_quant.kaldi.text_tables import read_text_map
from kaldi_quant.kaldi.wave_reader import WaveData
from kaldi_quant.units import Seconds

# extract-segments' defaults: how far a segment may end behind its recording, and how short it may be.
_MAX_OVERSHOOT: Seconds = 0.5
_MIN_SEGMENT: Seconds = 0.1


@dataclass(frozen=True)
class Segment:
    """A part of a recording, from ``begin`` to ``end`` (to the recording's end where that is -1).

    ``channel`` is -1 where the recording has only one.
    """

    recording: str
    begin: Seconds
    end: Seconds
    channel: int = -1


def read_waves(
    rspecifier: str, allow_pipes: bool = False, segments: str = "", on_bad: OnBad | None = None
) -> Iterator[tuple[str, WaveData]]:
    """Reads the audio of each utterance.

    The order is that of the table. Where segments are given, it is theirs if the table is an scp; an archive is read
    once from its beginning to its end, and each recording's segments come together.

    Args:
        rspecifier: ``scp:wav.scp``, also with offsets into archives, or ``ark:wav.ark``; relative paths as in
            ``script_file``.
        allow_pipes: whether commands such as ``sph2pipe … |`` run.
        segments: a file of lines ``utterance recording begin end [channel]``; empty for whole recordings.
        on_bad: is called for each utterance that cannot be read, which is then left out; None makes it an error.
            Nothing can be read behind a broken entry of an archive, which is an error in any case.

    Raises:
        UsageError: the rspecifier is malformed, or a command may not run.
        FormatError, DataError: a file is missing, or holds something else than 16-bit PCM.
    """
    parsed = parse_rspecifier(rspecifier)
    if not segments:
        return read_table(parsed, allow_pipes, _read_entry, on_bad)
    cuts = read_segments(segments)
    if parsed.script:
        found = _recordings_of_script(parsed.filename, cuts, allow_pipes)
    else:
        found = _recordings_of_archive(parsed, cuts, allow_pipes)
    return _read_segments(found, cuts, on_bad)


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
            begin, end = to_real(words[1]), to_real(words[2])
            channel = to_integer(words[3]) if len(words) == 4 else -1
            possible = math.isfinite(end) and begin >= 0 and (end > begin or end == -1)
            if not possible or (len(words) == 4 and channel < 0):
                raise ValueError
        except ValueError:
            line = " ".join([utterance, *words])[:80]
            message = f"expected utterance, recording, begin and end in seconds, found {line!r}"
            raise FormatError(os.fspath(path), None, message) from None
        segments[utterance] = Segment(words[0], begin, end, channel)
    return segments


def _read_entry(stream: ByteStream, key: str, entry: ScriptEntry | None) -> WaveData:
    """Reads an entry of a table; a wav file of its own may go on to its end."""
    if entry is not None and entry.range is not None:
        raise DataError(
            f"utterance {key} ({entry.where}): the range [{entry.range}] is for matrices; audio is cut by --segments"
        )
    try:
        audio = WaveData.read(stream, key, in_archive=entry is None or entry.offset is not None)
        if stream.is_command and entry is not None:
            stream.finish()
    except FormatError as error:
        raise DataError(f"utterance {key}: {error}") from error
    return audio


# A recording of which segments are wanted: the segments' utterances, and its audio or why there is none.
_Recording = tuple[list[str], WaveData | DataError]


def _recordings_of_script(filename: str, cuts: dict[str, Segment], allow_pipes: bool) -> Iterator[_Recording]:
    entries = read_script(filename, allow_pipes)
    streams = ScriptStreams(allow_pipes)
    recording: str | None = None
    audio: WaveData | DataError = DataError("")
    try:
        for utterance, segment in cuts.items():
            if segment.recording != recording:
                recording = segment.recording
                try:
                    if recording not in entries:
                        raise _missing(utterance, recording, filename)
                    entry = entries[recording]
                    audio = _read_entry(streams.open(entry), recording, entry)
                except DataError as error:
                    audio = error
                    streams.close()
            yield [utterance], audio
    finally:
        streams.close()


def _recordings_of_archive(rspecifier: Rspecifier, cuts: dict[str, Segment], allow_pipes: bool) -> Iterator[_Recording]:
    waiting: dict[str, list[str]] = {}
    for utterance, segment in cuts.items():
        waiting.setdefault(segment.recording, []).append(utterance)
    for recording, audio in read_table(rspecifier, allow_pipes, _read_entry):
        yield waiting.pop(recording, []), audio
    for recording, utterances in waiting.items():
        for utterance in utterances:
            yield [utterance], _missing(utterance, recording, rspecifier.filename)


def _missing(utterance: str, recording: str, filename: str) -> DataError:
    return DataError(f"utterance {utterance}: its recording {recording} is not in {filename}")


def _read_segments(
    recordings: Iterable[_Recording], cuts: dict[str, Segment], on_bad: OnBad | None
) -> Iterator[tuple[str, WaveData]]:
    for utterances, audio in recordings:
        for utterance in utterances:
            try:
                if isinstance(audio, DataError):
                    raise audio
                found = _cut(utterance, audio, cuts[utterance])
            except DataError as error:
                if on_bad is None:
                    raise
                on_bad(utterance, error)
                continue
            yield utterance, found


def _cut(utterance: str, audio: WaveData, segment: Segment) -> WaveData:
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
    if segment.channel < 0 and len(samples) > 1:
        raise DataError(
            f"utterance {utterance}: {segment.recording} has {len(samples)} channels: its line in the segments file "
            "must end with the channel, such as 0"
        )
    if segment.channel >= len(samples):
        raise DataError(f"utterance {utterance}: {segment.recording} has no channel {segment.channel}")
    if segment.channel >= 0:
        samples = samples[segment.channel : segment.channel + 1]
    return WaveData(samples[:, int(segment.begin * audio.rate + 0.5) : int(end * audio.rate + 0.5)], audio.rate)
