"""Frames and what is made of them again, whole and block by block."""

import numpy as np
import pytest

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.signals.stft import Analysis, Stft, Synthesis

STFTS = [Stft(320, 160, 320, periodic=False), Stft(960, 512, 1024), Stft(12, 3, 16)]


@pytest.mark.parametrize("stft", STFTS, ids=str)
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 2000])
def test_what_is_not_changed_comes_back(stft: Stft, samples: int) -> None:
    signal = np.random.default_rng(samples).standard_normal(samples)
    spectrum = stft.spectrum(signal)
    assert spectrum.shape == (stft.count(samples), stft.bins)
    np.testing.assert_allclose(stft.signal(spectrum, samples), signal, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stft", STFTS, ids=str)
def test_streams_give_the_frames_and_samples_of_the_whole(stft: Stft) -> None:
    signal = np.random.default_rng(0).standard_normal(7 * stft.hop)
    spectrum = stft.spectrum(signal)
    analysis, synthesis = Analysis(stft), Synthesis(stft)
    blocks = np.append(signal, np.zeros((len(spectrum) - 7) * stft.hop)).reshape(-1, stft.hop)
    frames = [analysis.push(block) for block in blocks]
    np.testing.assert_array_equal(np.concatenate(frames), spectrum)
    gains = np.random.default_rng(1).uniform(size=spectrum.shape)
    found = np.concatenate([synthesis.push(frame * gain) for frame, gain in zip(frames, gains, strict=True)])
    expected = stft.signal(spectrum * gains, len(signal))
    np.testing.assert_allclose(found[stft.delay :][: len(signal)], expected, rtol=0, atol=1e-12)


def test_frames_are_those_of_numpy() -> None:
    stft, signal = Stft(6, 3, 8, periodic=False), np.arange(1.0, 8.0)
    spectrum = stft.spectrum(signal)
    window = np.sqrt(np.hanning(6))
    padded = np.concatenate([np.zeros(3), signal, np.zeros(5)])
    expected = [np.fft.rfft(window * padded[place : place + 6], 8) for place in (0, 3, 6, 9)]
    np.testing.assert_allclose(spectrum, expected, rtol=0, atol=1e-12)


def test_sizes_that_do_not_fit_are_refused() -> None:
    for sizes in ((8, 0, 8), (8, 9, 16), (8, 4, 4), (1, 1, 1), (8, 8, 8)):
        with pytest.raises(UsageError, match="expected frames that overlap"):
            Stft(*sizes)
    with pytest.raises(DataError, match=r"one channel that is not empty, found an array of \(0,\)"):
        STFTS[0].spectrum(np.zeros(0))
    with pytest.raises(DataError, match=r"a signal of 9 samples has a spectrum of \(2, 161\), found \(1, 161\)"):
        STFTS[0].signal(np.zeros((1, 161), complex), 9)
