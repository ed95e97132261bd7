"""Features while audio comes in: those of the whole audio, at every rate, and audio that cannot be used."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("kaldi_native_fbank", reason="features from audio need kaldi-native-fbank")

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.features.cmvn import accumulate
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions, apply_online_cmvn
from kaldi_quant.kaldi.mfcc import Mfcc
from kaldi_quant.kaldi.mfcc_options import MfccOptions
from kaldi_quant.kaldi.wave_reader import WaveData
from kaldi_quant.recogniser.features import FeatureStream

OPTIONS = MfccOptions()


def audio(samples: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(samples) * 1000).astype(np.int16)


def in_pieces(stream: FeatureStream, samples: np.ndarray, longest: int = 3000) -> np.ndarray:
    random, begin, found = np.random.default_rng(1), 0, []
    while begin < len(samples):
        end = begin + int(random.integers(0, longest))
        found.append(stream.accept(samples[begin:end]))
        begin = end
    return np.concatenate([*found, stream.finish()])


@pytest.mark.parametrize("snip_edges", [True, False])
def test_pieces_are_the_whole(snip_edges: bool) -> None:
    options, samples = replace(OPTIONS, snip_edges=snip_edges), audio(17_003)
    expected = Mfcc(options).compute("utt", WaveData(samples[None], 16000))
    stream = FeatureStream(options, 16000)
    np.testing.assert_array_equal(in_pieces(stream, samples), expected)
    assert stream.frames == len(expected)
    begin = in_pieces(FeatureStream(options, 16000), samples[:2000], 3)
    np.testing.assert_array_equal(begin, Mfcc(options).compute("utt", WaveData(samples[None, :2000], 16000)))


@pytest.mark.parametrize("rate", [48000, 44100, 22050])
def test_higher_rates_are_resampled_whatever_the_options_say(rate: int) -> None:
    samples = audio(rate // 4)
    found = in_pieces(FeatureStream(OPTIONS, rate), samples)
    whole = FeatureStream(OPTIONS, rate)
    np.testing.assert_array_equal(found, np.concatenate([whole.accept(samples), whole.finish()]))


def test_lower_rates_are_resampled_where_the_options_let_them() -> None:
    with pytest.raises(DataError, match="sampled at 8000 Hz and not at --sample-frequency=16000: --allow-upsample"):
        FeatureStream(OPTIONS, 8000)
    assert len(in_pieces(FeatureStream(replace(OPTIONS, allow_upsample=True), 8000), audio(8000))) == 98


def test_normalised_features_and_plain_ones() -> None:
    samples, plain = audio(16000), []
    stats = accumulate(np.random.default_rng(2).standard_normal((50, 13)).astype(np.float32))
    stream, found = FeatureStream(OPTIONS, 16000, stats), []
    for begin in range(0, 16000, 4000):
        found.append(stream.accept(samples[begin : begin + 4000]))
        plain.append(stream.plain)
    found.append(stream.finish())
    plain.append(stream.plain)
    expected = Mfcc(OPTIONS).compute("utt", WaveData(samples[None], 16000))
    np.testing.assert_array_equal(np.concatenate(plain), expected)
    expected = apply_online_cmvn(expected, stats, None, OnlineCmvnOptions())
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-5)


def test_nothing_is_no_frame() -> None:
    stream = FeatureStream(OPTIONS, 16000)
    assert stream.accept(audio(0)).shape == stream.accept(audio(100)).shape == stream.finish().shape == (0, 13)
    assert stream.finish().shape == (0, 13)


def test_no_more_samples_are_held_than_a_frame_needs() -> None:
    stream = FeatureStream(OPTIONS, 44100)
    held = set()
    for _ in range(40):
        stream.accept(audio(4410))
        held.add(len(stream._resampling._kept))
    # So many have one time in common with samples of the other rate.
    assert max(held) < 441 + 50


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.0, np.nan]), "values that are not finite"),
        (np.array([np.inf]), "values that are not finite"),
        (np.zeros((2, 100)), r"one channel is expected, \(samples,\), found the shape \(2, 100\)"),
    ],
)
def test_audio_that_cannot_be_used(samples: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        FeatureStream(OPTIONS, 16000).accept(samples)


def test_what_no_stream_can_do() -> None:
    with pytest.raises(UsageError, match="--subtract-mean=true needs the whole utterance"):
        FeatureStream(replace(OPTIONS, subtract_mean=True), 16000)
    for rate in (44100.5, 2_000_000):
        with pytest.raises(DataError, match=f"from {rate:.10g} to 16000 Hz cannot be resampled"):
            FeatureStream(OPTIONS, rate)
    stream = FeatureStream(OPTIONS, 16000)
    stream.finish()
    with pytest.raises(UsageError, match="finished"):
        stream.accept(audio(10))
