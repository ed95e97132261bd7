"""Resampled audio against Kaldi's own, against the formula, and against tones that are known at every rate."""

import math
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.kaldi.resample import ResampleStream, resample
from kaldi_quant.kaldi.tables import read_vectors
from kaldi_quant.kaldi.waves import read_waves

KALDI = Path(__file__).resolve().parents[1] / "data" / "resample"


@pytest.mark.parametrize("rate", [8000, 11025, 22050])
def test_kaldis_resampled_audio(example: Path, rate: int) -> None:
    audio = dict(read_waves(f"scp:{example}/data/test_wav/wav.scp"))["test030-006"]
    found = resample(audio.samples[0, 8000:8800].astype(np.float32), audio.rate, rate)
    ((_, expected),) = read_vectors(f"ark:{KALDI}/{rate}.ark")
    assert found.dtype == np.float32
    # Single precision holds seven digits of the largest sample.
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-7 * np.abs(expected).max())


@pytest.mark.parametrize(("rate", "new_rate", "number"), [(16000, 8000, 101), (8000, 16000, 75), (44100, 16000, 301)])
def test_the_formula(rate: int, new_rate: int, number: int) -> None:
    """y(t) = sum over n of x(n) h(t - n / rate) / rate; h is a sinc under a raised cosine up to its sixth zero."""
    samples = np.random.default_rng(0).standard_normal(number)
    cutoff = 0.99 * 0.5 * min(rate, new_rate)
    expected = []
    for index in range(math.ceil(number * new_rate / rate)):
        total = 0.0
        for old, value in enumerate(samples):
            t = index / new_rate - old / rate
            if abs(t) < 6 / (2 * cutoff):
                window = 0.5 * (1 + math.cos(2 * math.pi * cutoff / 6 * t))
                total += value * window * (math.sin(2 * math.pi * cutoff * t) / (math.pi * t) if t else 2 * cutoff)
        expected.append(total / rate)
    np.testing.assert_allclose(resample(samples, rate, new_rate), expected, rtol=0, atol=2e-6)


def test_a_tone_stays_and_what_is_too_high_goes() -> None:
    time = np.arange(1600) / 16000
    low, high = np.sin(2 * np.pi * 500 * time), np.sin(2 * np.pi * 6000 * time)
    inner = slice(20, 780)
    kept = resample(low + high, 16000, 8000)[inner]
    np.testing.assert_allclose(kept, np.sin(2 * np.pi * 500 * np.arange(800) / 8000)[inner], atol=0.02)


@pytest.mark.parametrize(("number", "expected"), [(1, 1), (2, 1), (3, 2), (0, 0)])
def test_as_many_samples_as_lie_within_the_time(number: int, expected: int) -> None:
    assert len(resample(np.ones(number), 16000, 8000)) == expected


@pytest.mark.parametrize(("rate", "new_rate"), [(16000, 8000), (8000, 16000), (44100, 16000), (22050, 16000)])
def test_pieces_are_the_whole(rate: int, new_rate: int) -> None:
    random, begin, found = np.random.default_rng(0), 0, []
    samples, stream = random.standard_normal(3001), ResampleStream(rate, new_rate, 0.99)
    while begin < len(samples):
        end = begin + int(random.integers(0, 200))
        found.append(stream.push(samples[begin:end]))
        begin = end
    found.append(stream.push(samples[:0], is_last=True))
    np.testing.assert_array_equal(np.concatenate(found), resample(samples, rate, new_rate))


def test_streams_let_a_tone_through_as_files_do() -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(4410) / 44100)
    found = ResampleStream(44100, 16000).push(tone, is_last=True)
    np.testing.assert_allclose(found[20:-20], np.sin(2 * np.pi * 500 * np.arange(1600) / 16000)[20:-20], atol=0.02)


def test_a_stream_waits_for_what_a_sample_reads() -> None:
    """GetNumOutputSamples: the filter reaches 6 / (2 * 4000 Hz) = 12 samples of 16 kHz to either side."""
    stream = ResampleStream(16000, 8000)
    assert len(stream.push(np.ones(12))) == 0
    assert len(stream.push(np.ones(1))) == 1
    assert len(stream.push(np.ones(3))) == 1
