"""Wav files, read as Kaldi reads them: the header, and then the samples that it announces and nothing behind them.

Source: ``src/feat/wave-reader.h`` and ``wave-reader.cc``. The classes have the names that they have there.
"""

import logging
import re
import struct
from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.streams import ByteStream

_log = logging.getLogger(__name__)

_BITS, _SAMPLE_BYTES = 16, 2
_PCM, _EXTENSIBLE = 1, 0xFFFE
_SUBTYPE_PCM = (0x00000001, 0x00100000, 0xAA000080, 0x719B3800)
_FORMATS = {2: "Microsoft ADPCM", 3: "floating point", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 85: "MP3"}
# What programs write that do not know how long their output will be; the last one is SoX's.
_UNKNOWN_RIFF_SIZES = (0, 0xFFFFFFFF)
_UNKNOWN_DATA_SIZES = (0, 0xFFFFFFFF, 0x7FFFF000)
_LARGEST_FILE = 1 << 32
_ADVICE = "sox and ffmpeg convert it, also as a command ending in | in wav.scp"
_OTHER_FILES = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"NIST": "NIST SPHERE (sph2pipe -f wav -p … | reads it)",
    b"RF64": "RF64",
    b"FORM": "AIFF",
    b".snd": "Sun audio",
    b"caff": "CAF",
}
_NEXT_HEADER = re.compile(rb"RIF[FX].{4}WAVE", re.DOTALL)
_HEADER_BYTES = 12
_PIECE = 1 << 20


@dataclass(frozen=True)
class WaveInfo:
    """What the header of a wav file says.

    Attributes:
        rate: samples per second.
        num_channels: 1 or more.
        data_bytes: the size of the samples of all channels; None where the header does not say it and they go on to
            the end of the stream.
        reverse_bytes: True for big-endian samples, ``RIFX``.
        contradiction: how the sizes of the whole and of the samples differ, for a warning; empty where they fit.
    """

    rate: int
    num_channels: int
    data_bytes: int | None
    reverse_bytes: bool = False
    contradiction: str = ""

    @property
    def block_align(self) -> int:
        """The bytes of one sample of all channels."""
        return self.num_channels * _SAMPLE_BYTES

    @classmethod
    def read(cls, stream: ByteStream) -> "WaveInfo":
        """Reads a header; the stream is then at the first sample.

        Raises:
            FormatError: the stream holds something else than a wav file of 16-bit PCM.
        """
        begin = stream.position
        tag = bytes(stream.read_exact(4, "the header of a wav file"))
        if tag not in (b"RIFF", b"RIFX"):
            found = _OTHER_FILES.get(tag, repr(tag)[1:])
            stream.fail(f"expected a wav file, which begins with RIFF or RIFX, found {found}; {_ADVICE}", begin)
        order = ">" if tag == b"RIFX" else "<"
        (riff_size,) = _read(stream, order + "I")
        if stream.read_exact(4, "the header of a wav file") != b"WAVE":
            stream.fail("expected a wav file, found RIFF data of another kind", begin)
        rate, channels = _read_format(stream, order, _go_to_chunk(stream, order, b"fmt "))
        data_size = _go_to_chunk(stream, order, b"data")
        if riff_size in _UNKNOWN_RIFF_SIZES or data_size in _UNKNOWN_DATA_SIZES:
            return cls(rate, channels, None, tag == b"RIFX")
        read = stream.position - begin - 8
        contradiction = ""
        if abs(read + data_size - riff_size) > 1:
            contradiction = (
                f"its header announces {riff_size} bytes, and the samples end at {read + data_size}; "
                "what follows them is not read"
            )
        block = channels * _SAMPLE_BYTES
        return cls(rate, channels, data_size // block * block, tag == b"RIFX", contradiction)


def _read(stream: ByteStream, form: str) -> tuple[int, ...]:
    return struct.unpack(form, stream.read_exact(struct.calcsize(form), "the header of a wav file"))


def _go_to_chunk(stream: ByteStream, order: str, wanted: bytes) -> int:
    """Goes over chunks up to the wanted one and returns its size."""
    while True:
        tag = stream.read_exact(4, f"the chunk {wanted.decode().strip()!r} of a wav file")
        (size,) = _read(stream, order + "I")
        if tag == wanted:
            return size
        stream.skip(size, f"the chunk {_printable(tag)!r} of a wav file")
        # A byte pads a chunk of odd size. Kaldi takes files only in which it is missing.
        if size % 2 and stream.peek(1) == b"\0":
            stream.skip(1, "padding")


def _printable(tag: bytes | bytearray) -> str:
    return tag.decode("ascii", "replace").strip()


def _read_format(stream: ByteStream, order: str, size: int) -> tuple[int, int]:
    """Reads the chunk ``fmt``; returns the rate and the number of channels."""
    begin = stream.position
    if size < 16:
        stream.fail(f"expected a format of at least 16 bytes, found one of {size}", begin)
    form, channels, rate, byte_rate, block_align, bits = _read(stream, order + "HHIIHH")
    if form == _EXTENSIBLE:
        if size < 40 or _read(stream, order + "H") < (22,):
            stream.fail("the extensible format in the header of the wav file is too short", begin)
        _read(stream, order + "HI")  # valid bits, speakers' positions
        subtype = _read(stream, order + "IIII")
        # The first four bytes of the identifier are the format, where the others are the usual ones.
        form = subtype[0] if subtype[1:] == _SUBTYPE_PCM[1:] else form
    if form != _PCM or bits != _BITS:
        name = "PCM" if form == _PCM else _FORMATS.get(form, f"format {form}")
        stream.fail(f"expected 16-bit PCM, found {name} of {bits} bits per sample; {_ADVICE}", begin)
    # Kaldi keeps the number of channels in one byte.
    if not 1 <= channels <= 255:
        stream.fail(f"expected 1 to 255 channels, found {channels}", begin)
    if rate < 1:
        stream.fail("the sampling frequency is 0", begin)
    if byte_rate != rate * channels * _SAMPLE_BYTES % (1 << 32) or block_align != channels * _SAMPLE_BYTES:
        stream.fail(
            f"the header contradicts itself: {byte_rate} bytes per second and {block_align} per sample do not fit "
            f"{rate} Hz and {channels} channels of 16 bits",
            begin,
        )
    size -= stream.position - begin
    stream.skip(size, "the format in the header of a wav file")
    if size % 2 and stream.peek(1) == b"\0":
        stream.skip(1, "padding")
    return rate, channels


@dataclass(frozen=True)
class WaveData:
    """Audio.

    Attributes:
        samples: (channels, samples) int16.
        rate: samples per second.
    """

    samples: np.ndarray
    rate: int

    @classmethod
    def read(cls, stream: ByteStream, key: str, in_archive: bool = False) -> "WaveData":
        """Reads a header and the samples that it announces; where it announces no number, all up to the end.

        Args:
            stream: stands at the header.
            key: the utterance, for warnings.
            in_archive: whether other entries may follow.

        Raises:
            FormatError: the stream holds something else than a wav file of 16-bit PCM, or no samples; or a header that
                announces no number of samples stands in an archive with more behind it.
        """
        begin = stream.position
        info = WaveInfo.read(stream)
        if info.contradiction:
            _log.warning("utterance %s: %s, byte %d: %s", key, stream.name, begin, info.contradiction)
        if info.data_bytes is not None:
            data = stream.read_up_to(info.data_bytes)
            if 0 < len(data) < info.data_bytes:
                _log.warning(
                    "utterance %s: %s, byte %d: expected %d bytes of samples, found only %d: is the file truncated?",
                    *(key, stream.name, begin, info.data_bytes, len(data)),
                )
        elif in_archive:
            data = _read_last_of_archive(stream, begin)
        else:
            data = stream.read_up_to(_LARGEST_FILE)
        samples = len(data) // info.block_align
        if not samples:
            stream.fail("the wav file holds no samples", begin)
        kind = ">i2" if info.reverse_bytes else "<i2"
        values = np.frombuffer(data, kind, samples * info.num_channels).reshape(samples, info.num_channels)
        return cls(values.T.astype(np.int16, copy=False), info.rate)


def _read_last_of_archive(stream: ByteStream, begin: int) -> bytearray:
    """All that follows in an archive, which must be this entry's."""
    data = bytearray()
    while piece := stream.read(_PIECE):
        data += piece
        if _NEXT_HEADER.search(data, max(0, len(data) - len(piece) - _HEADER_BYTES)):
            stream.fail(
                "the header of the wav file does not say how long it is, and another one follows in the archive: write "
                "the archive with sizes, as wav-copy does",
                begin,
            )
    return data
