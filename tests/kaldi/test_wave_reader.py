"""Headers of wav files: those that Kaldi reads give their samples, the others one sentence."""

import struct
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.streams import open_stream
from kaldi_quant.kaldi.wave_reader import WaveData, WaveInfo
from tests.wav_files import chunk, extensible_format, pcm_format, wav_file

MONO = np.array([1, -2, 300, -32768, 32767], np.int16)
STEREO = np.arange(12, dtype=np.int16).reshape(6, 2)


def read(folder: Path, data: bytes, in_archive: bool = False) -> WaveData:
    (folder / "a.wav").write_bytes(data)
    stream = open_stream(str(folder / "a.wav"))
    try:
        return WaveData.read(stream, "utt", in_archive)
    finally:
        stream.close()


@pytest.mark.parametrize(
    "data",
    {
        "plain": wav_file(MONO),
        "sox_pipe": wav_file(MONO, riff_size=0x7FFFF024, data_size=0x7FFFF000),
        "ffmpeg_pipe": wav_file(MONO, riff_size=0xFFFFFFFF, data_size=0xFFFFFFFF),
        "both_sizes_0": wav_file(MONO, riff_size=0, data_size=0),
        "riff_size_0": wav_file(MONO, riff_size=0),
        "riff_size_ff": wav_file(MONO, riff_size=0xFFFFFFFF),
        "data_size_0": wav_file(MONO, data_size=0),
        "big_endian": wav_file(MONO, big_endian=True),
        "big_endian_stream": wav_file(MONO, big_endian=True, data_size=0xFFFFFFFF),
        "extensible": wav_file(MONO, extensible_format()),
        "longer_format": wav_file(MONO, pcm_format(extra=bytes(8))),
        "format_of_odd_size": wav_file(MONO, pcm_format(extra=b"\7")),
        "padded_format": wav_file(MONO, pcm_format(extra=b"\7"), before_data=b"\0"),
        "junk": wav_file(MONO, before_format=chunk(b"JUNK", bytes(28))),
        "fact_and_list": wav_file(MONO, before_data=chunk(b"fact", bytes(4)) + chunk(b"LIST", b"INFO")),
        "odd_chunk": wav_file(MONO, before_data=chunk(b"note", b"abc")),
        "padded_odd_chunk": wav_file(MONO, before_data=chunk(b"note", b"abc") + b"\0"),
        "chunk_behind": wav_file(MONO, behind=chunk(b"LIST", b"INFO")),
        "half_a_sample_more": wav_file(MONO, data_size=11, behind=b"\1"),
    }.items(),
    ids=lambda item: item[0],
)
def test_headers_that_kaldi_reads(tmp_path: Path, data: tuple[str, bytes]) -> None:
    audio = read(tmp_path, data[1])
    assert audio.rate == 16000
    np.testing.assert_array_equal(audio.samples, MONO[None])
    assert audio.samples.dtype == np.int16


@pytest.mark.parametrize("big_endian", [False, True])
def test_channels_are_rows(tmp_path: Path, big_endian: bool) -> None:
    audio = read(tmp_path, wav_file(STEREO, rate=8000, big_endian=big_endian))
    assert audio.rate == 8000
    np.testing.assert_array_equal(audio.samples, STEREO.T)


def test_what_a_header_says(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_file(STEREO, rate=44100))
    stream = open_stream(str(tmp_path / "a.wav"))
    assert WaveInfo.read(stream) == WaveInfo(rate=44100, num_channels=2, data_bytes=24)
    assert stream.position == 44
    stream.close()


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (wav_file(MONO)[:-4], "expected 10 bytes of samples, found only 6: is the file truncated?"),
        (wav_file(MONO, riff_size=46), ""),
        (wav_file(MONO, riff_size=20), "its header announces 20 bytes, and the samples end at 46"),
        (wav_file(MONO, behind=chunk(b"LIST", b"INFO")), "its header announces 58 bytes"),
        (wav_file(MONO, riff_size=0), ""),
    ],
)
def test_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, warning: str) -> None:
    samples = read(tmp_path, data).samples[0]
    np.testing.assert_array_equal(samples, MONO[: len(samples)])
    assert len(samples) == (3 if "truncated" in warning else 5)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (warning != "")
    assert all(message.startswith("utterance utt: ") and warning in message for message in messages)


IEEE_FLOAT = (3, 0x00100000, 0xAA000080, 0x719B3800)
OTHER_SUBTYPE = (1, 0x00100000, 0xAA000080, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the header of a wav file needs 4 bytes, and 0 are left"),
        (b"RIFF\0\0", "the header of a wav file needs 4 bytes"),
        (b"fLaC" + bytes(40), "found FLAC"),
        (b"NIST_1A\n   1024\n", "found NIST SPHERE"),
        (b"what", "found 'what'"),
        (b"RIFF\4\0\0\0AVI ", "RIFF data of another kind"),
        (wav_file(MONO)[:20], "the header of a wav file needs 16 bytes"),
        (wav_file(MONO, pcm_format()[:14]), "a format of at least 16 bytes, found one of 14"),
        (wav_file(MONO, pcm_format(bits=8)), "16-bit PCM, found PCM of 8 bits"),
        (wav_file(MONO, pcm_format(bits=24)), "16-bit PCM, found PCM of 24 bits"),
        (wav_file(MONO, pcm_format(form=3, bits=32)), "found floating point of 32 bits"),
        (wav_file(MONO, pcm_format(form=6, bits=8)), "found A-law of 8 bits"),
        (wav_file(MONO, pcm_format(form=7, bits=8)), "found mu-law of 8 bits"),
        (wav_file(MONO, pcm_format(form=99)), "found format 99 of 16 bits"),
        (wav_file(MONO, extensible_format(IEEE_FLOAT, bits=32)), "found floating point of 32 bits"),
        (wav_file(MONO, extensible_format(OTHER_SUBTYPE)), "found format 65534 of 16 bits"),
        (wav_file(MONO, extensible_format(extra_size=0)), "extensible format .* too short"),
        (wav_file(MONO, extensible_format()[:18]), "extensible format .* too short"),
        (wav_file(MONO, pcm_format(channels=0)), "1 to 255 channels, found 0"),
        (wav_file(MONO, pcm_format(channels=256)), "1 to 255 channels, found 256"),
        (wav_file(MONO, pcm_format(rate=0)), "sampling frequency is 0"),
        (wav_file(MONO, pcm_format(byte_rate=16000)), "the header contradicts itself: 16000 bytes per second"),
        (wav_file(MONO, pcm_format(block_align=4)), "the header contradicts itself: .* 4 per sample"),
        (
            wav_file(MONO, before_data=chunk(b"LIST", b"", size=0xFFFFFFF0)),
            "the chunk 'LIST' .* needs 4294967280 bytes",
        ),
        (wav_file(MONO)[:36], "the chunk 'data' of a wav file needs 4 bytes"),
        (wav_file(MONO)[:44], "holds no samples"),
        (wav_file(MONO[:0]), "holds no samples"),
        (wav_file(STEREO)[:46], "holds no samples"),
    ],
)
def test_what_kaldi_refuses(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read(tmp_path, data)
    assert str(caught.value).startswith(f"{tmp_path}/a.wav, byte ")
    assert "\n" not in str(caught.value)


def test_a_stream_without_sizes_ends_an_archive(tmp_path: Path) -> None:
    streamed, plain = wav_file(MONO, data_size=0), wav_file(MONO)
    np.testing.assert_array_equal(read(tmp_path, streamed, in_archive=True).samples[0], MONO)
    with pytest.raises(FormatError, match="does not say how long it is, and another one follows in the archive"):
        read(tmp_path, streamed + b"next " + plain, in_archive=True)


@pytest.mark.parametrize("gap", [0, 5, (1 << 20) - 52, (1 << 20) - 45])
def test_the_next_header_is_found_wherever_pieces_end(tmp_path: Path, gap: int) -> None:
    data = wav_file(MONO, data_size=0) + struct.pack("<I", 1) * (gap // 4) + wav_file(MONO)
    with pytest.raises(FormatError, match="another one follows"):
        read(tmp_path, data, in_archive=True)
