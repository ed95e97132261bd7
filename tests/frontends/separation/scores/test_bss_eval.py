"""SDR of BSS Eval beside its definition, and beside the packages that have it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import linalg, signal

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.separation.scores.bss_eval import frame_sdrs, sdr, sdr_v4


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def soft(wave: np.ndarray) -> np.ndarray:
    """Low frequencies alone, as much of speech has."""
    return signal.sosfilt(signal.butter(6, 0.2, output="sos"), wave)


def by_least_squares(reference: np.ndarray, estimate: np.ndarray, taps: int) -> float:
    matrix = linalg.convolution_matrix(reference, taps, "full")
    padded = np.concatenate([estimate, np.zeros(taps - 1)])
    part = matrix @ np.linalg.lstsq(matrix, padded, rcond=None)[0]
    return float(10 * np.log10(part @ part / np.square(padded - part).sum()))


@pytest.mark.parametrize("share", [1.0, 0.1, 0.001])
@pytest.mark.parametrize("colour", [soft, np.asarray])
def test_the_ratio_is_its_definition(share: float, colour: Any) -> None:
    reference = colour(noise(1500))
    estimate = reference + share * reference.std() * noise(1500, seed=1)
    expected = by_least_squares(reference, estimate, 64)
    assert sdr(reference, estimate, taps=64) == pytest.approx(expected, abs=1e-5)
    assert sdr(reference, -3 * estimate, taps=64) == pytest.approx(expected, abs=1e-5)


def test_a_filter_is_no_distortion() -> None:
    reference = np.pad(noise(4000), (0, 3))
    filtered = signal.lfilter([0.5, 0.3, 0, -0.2], 1, reference)
    assert sdr(reference, filtered) > 95
    assert sdr(reference, 0 * reference) == -100
    found = sdr(np.eye(1, 600, 5)[0], noise(600))
    assert -1 < found < 20


def test_fast_bss_eval_agrees() -> None:
    package = pytest.importorskip("fast_bss_eval")
    references, estimates = soft(noise(2, 8000)), soft(noise(2, 8000)) + 0.1 * noise(2, 8000, seed=1)
    found = [sdr(*pair) for pair in zip(references, estimates, strict=True)]
    np.testing.assert_allclose(found, np.ravel(package.sdr(references, estimates)), rtol=0, atol=1e-6)


def test_frames_are_ratios_of_energies() -> None:
    references, estimates = noise(2, 2, 250), noise(2, 2, 250, seed=1)
    found = frame_sdrs(references, estimates, 100)
    assert found.shape == (2, 2)
    error = np.square(references - estimates)[1, :, 100:200].sum()
    assert found[1, 1] == pytest.approx(10 * np.log10(np.square(references)[1, :, 100:200].sum() / error))
    assert frame_sdrs(references[..., :30], estimates[..., :30], 100).shape == (2, 1)


def test_silent_seconds_have_no_ratio() -> None:
    references, estimates = noise(2, 2, 300), noise(2, 2, 300, seed=1)
    references[0, :, 100:200] = 0
    estimates[1, :, 200:] = 0
    found = frame_sdrs(references, estimates, 100)
    assert np.isnan(found[:, 1]).all() and np.isfinite(found[:, [0, 2]]).all()
    assert found[1, 2] == 0
    np.testing.assert_allclose(sdr_v4(references, estimates, 100), found[:, [0, 2]].mean(axis=1))
    assert np.isnan(sdr_v4(0 * references, estimates, 100)).all()


def test_museval_agrees() -> None:
    # Importing the package itself asks for ffmpeg.
    spec = importlib.util.find_spec("museval")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("museval is not installed")
    path = Path(spec.submodule_search_locations[0]) / "metrics.py"
    file = importlib.util.spec_from_file_location("museval_metrics", path)
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    references, estimates = soft(noise(2, 2, 5500)), soft(noise(2, 2, 5500)) + 0.1 * noise(2, 2, 5500, seed=1)
    references[1, :, 1000:2000] = 0
    given = [np.moveaxis(x, 1, 2) for x in (references, estimates)]
    expected = module.bss_eval(*given, compute_permutation=False, window=1000, hop=1000, filters_len=16)[0]
    np.testing.assert_allclose(frame_sdrs(references, estimates, 1000), expected, rtol=0, atol=1e-6)
    medians = np.nanmedian(expected, axis=1)
    np.testing.assert_allclose(sdr_v4(references, estimates, 1000), medians, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        (np.ones(100), np.ones(100), "SDR needs at least 512 samples, found 100"),
        (np.zeros(600), np.ones(600), "the reference is silent"),
        (np.ones(600), np.full(600, np.nan), "not finite"),
        (np.ones(600), np.ones(601), r"found \(1, 1, 601\) and \(1, 1, 600\)"),
    ],
)
def test_what_has_no_ratio(reference: np.ndarray, estimate: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sdr(reference, estimate)
