"""Transforms of batches of waves: the same back, beside numpy and librosa's definition."""

import numpy as np
import pytest
import torch

from kaldi_quant.frontends.signals.transforms import TRANSFORMS, with_magnitude


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 320, 400, 4001])
def test_a_spectrum_that_was_not_changed_gives_the_signal_back(name: str, samples: int) -> None:
    stft = TRANSFORMS[name]
    waves = torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    spectrum = stft.spectrum(waves)
    assert spectrum.shape == (2, stft.count(samples), stft.bins)
    torch.testing.assert_close(stft.waves(spectrum, samples), waves, atol=3e-6, rtol=0)
    again = with_magnitude(spectrum, spectrum.abs())
    torch.testing.assert_close(stft.waves(again, samples), waves, atol=3e-6, rtol=0)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_silence_stays_silence_and_has_gradients(name: str) -> None:
    stft = TRANSFORMS[name]
    waves = torch.zeros(1, 1600, requires_grad=True)
    spectrum = stft.spectrum(waves)
    found = stft.waves(with_magnitude(spectrum, spectrum.abs()), 1600)
    assert not found.detach().any()
    (found.square().sum() + spectrum.abs().sum()).backward()
    assert waves.grad is not None
    assert torch.isfinite(waves.grad).all()


def test_frames_are_those_of_their_definitions() -> None:
    wave = np.random.default_rng(1).standard_normal(2000)
    given = torch.from_numpy(wave).float()[None]
    padded = np.pad(wave, 160)
    expected = np.fft.rfft(padded[3 * 160 : 3 * 160 + 320] * np.hamming(320))
    np.testing.assert_allclose(TRANSFORMS["hamming-320"].spectrum(given)[0, 3], expected, atol=2e-5)
    # librosa: a frame of 512 around each hop, the window of 400 in its middle.
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)
    expected = np.fft.rfft(np.pad(wave, 256)[3 * 160 : 3 * 160 + 512] * window)
    np.testing.assert_allclose(TRANSFORMS["hann-512"].spectrum(given)[0, 3], expected, atol=2e-5)
