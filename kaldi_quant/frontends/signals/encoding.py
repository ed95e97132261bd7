"""Recordings as bytes of a file, for pages that hold what one is to hear."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile

from kaldi_quant.registry import Registry
from kaldi_quant.units import Hertz


@dataclass(frozen=True)
class Codec:
    """A form of audio files.

    Args:
        mime: what browsers call it.
        container, subtype: what libsndfile calls it.
        compression: libsndfile's level, from 0 to 1; None for its own.
    """

    mime: str
    container: str
    subtype: str
    compression: float | None = None


CODECS: Registry[Codec] = Registry("form of audio")
CODECS.add("wav")(Codec("audio/wav", "WAV", "PCM_16"))
CODECS.add("flac")(Codec("audio/flac", "FLAC", "PCM_16"))
# About 48 kbit/s: no difference to the recording is heard that would be taken for one of networks.
CODECS.add("opus")(Codec('audio/ogg; codecs="opus"', "OGG", "OPUS", 0.8))


def encoded(wave: np.ndarray, rate: Hertz, codec: str) -> bytes:
    """A file of a recording.

    Args:
        wave: (n,), or (n, channels), in ±1; what is beyond is cut off.
        rate: in Hz; of Opus 8000, 12000, 16000, 24000 or 48000.
        codec: a name of ``CODECS``.

    Raises:
        UsageError: there is no such form.
    """
    chosen, stream = CODECS[codec], io.BytesIO()
    level = {} if chosen.compression is None else {"compression_level": chosen.compression}
    soundfile.write(stream, np.clip(wave, -1, 1), rate, format=chosen.container, subtype=chosen.subtype, **level)
    return stream.getvalue()
