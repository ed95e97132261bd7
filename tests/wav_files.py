"""Wav files with headers of every kind, made byte by byte."""

import struct

import numpy as np

PCM, EXTENSIBLE = 1, 0xFFFE
SUBTYPE_PCM = (0x00000001, 0x00100000, 0xAA000080, 0x719B3800)


def chunk(tag: bytes, body: bytes, order: str = "<", size: int | None = None) -> bytes:
    """A chunk of a RIFF file; its size is the body's unless another is given."""
    return tag + struct.pack(order + "I", len(body) if size is None else size) + body


def pcm_format(
    channels: int = 1,
    rate: int = 16000,
    order: str = "<",
    form: int = PCM,
    bits: int = 16,
    extra: bytes = b"",
    byte_rate: int | None = None,
    block_align: int | None = None,
) -> bytes:
    """The body of the chunk ``fmt``."""
    block = channels * bits // 8 if block_align is None else block_align
    per_second = rate * channels * bits // 8 if byte_rate is None else byte_rate
    return struct.pack(order + "HHIIHH", form, channels, rate, per_second, block, bits) + extra


def extensible_format(subtype: tuple[int, ...] = SUBTYPE_PCM, extra_size: int = 22, **about: int) -> bytes:
    """The body of the chunk ``fmt`` that names its format by a long identifier."""
    return pcm_format(form=EXTENSIBLE, extra=struct.pack("<HHIIIII", extra_size, 16, 4, *subtype), **about)  # type: ignore[arg-type]


def wav_file(
    samples: np.ndarray,
    form: bytes | None = None,
    *,
    rate: int = 16000,
    big_endian: bool = False,
    riff_size: int | None = None,
    data_size: int | None = None,
    before_format: bytes = b"",
    before_data: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A wav file of samples (samples,) or (samples, channels) int16, right unless something else is asked for."""
    order = ">" if big_endian else "<"
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    header = chunk(b"fmt ", pcm_format(channels, rate, order) if form is None else form, order)
    data = chunk(b"data", samples.astype(order + "i2").tobytes(), order, data_size)
    body = b"WAVE" + before_format + header + before_data + data + behind
    return chunk(b"RIFX" if big_endian else b"RIFF", body, order, riff_size)
