"""PESQ in numpy beside the program of ITU-T, the package pesq 0.0.4: its values stand here."""

import importlib.util

import numpy as np
import pytest

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.signals.audio import read_audio, resample
from kaldi_quant.metrics.pesq.bands import bands_of
from kaldi_quant.metrics.pesq.levels import Band
from kaldi_quant.metrics.pesq.measure import pesq
from tests.conftest import ROOT

SENTENCES = ROOT / "egs/keywords/data/sentences"
# Decoders of Opus differ in the last bits.
NEAR = 2e-3

#: How a sentence is changed: wide band, narrow band, and narrow band at 8 kHz.
VALUES = {
    ("espeak-boris-49", "noise 0.003"): (1.55357, 2.40560, 2.49973),
    ("espeak-boris-49", "noise 0.03"): (1.02027, 1.16305, 1.21943),
    ("flite-awb-118-10", "late"): (1.90052, 2.26633, 2.37576),
    ("flite-awb-118-10", "clipped"): (1.07013, 1.19763, 1.26441),
    ("flite-awb-118-10", "gated"): (1.05370, 1.43708, 1.53223),
    ("flite-awb-118-10", "long"): (1.06075, 1.35536, 1.44265),
}


def sentence(name: str) -> np.ndarray:
    return read_audio(SENTENCES / f"{name}.opus", 16000)


def changed(wave: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """The sentence, and what was made of it."""
    random = np.random.default_rng(0).standard_normal(len(wave) * 6).astype(np.float32)
    kind, _, level = how.partition(" ")
    if kind == "noise":
        return wave, wave + float(level) * random[: len(wave)]
    if kind == "late":
        # Half a second comes 12.5 ms late.
        moved = wave + 0.002 * random[: len(wave)]
        moved[12000:20000] = wave[11800:19800]
        return wave, moved
    if kind == "clipped":
        return wave, np.clip(wave, -0.02, 0.02)
    if kind == "gated":
        # As suppression that goes too far.
        noisy = wave + 0.01 * random[: len(wave)]
        return wave, np.where(np.convolve(np.abs(noisy), np.ones(320) / 320, "same") > 0.02, noisy, 0.05 * noisy)
    # More than 16 seconds: late parts count more.
    whole = np.tile(wave, 6)
    return whole, whole + np.linspace(0, 0.03, len(whole), dtype=np.float32) * random[: len(whole)]


def measured(clean: np.ndarray, other: np.ndarray, compute: object) -> tuple[float, float, float]:
    low = [resample(each, 16000, 8000) for each in (clean, other)]
    return compute(clean, other, 16000, "wb"), compute(clean, other, 16000, "nb"), compute(*low, 8000, "nb")


@pytest.mark.parametrize(("name", "how"), VALUES, ids=lambda each: each.replace(" ", "-"))
def test_values_are_those_of_the_program(name: str, how: str) -> None:
    clean, other = changed(sentence(name), how)
    found = measured(clean, other, pesq)
    assert found == pytest.approx(VALUES[name, how], abs=NEAR)
    if importlib.util.find_spec("pesq") is None:
        return
    from pesq import pesq as program

    expected = measured(clean, other, lambda x, y, rate, band: program(rate, x, y, band))
    assert found == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("band", "best"), [("wb", 4.644), ("nb", 4.549)])
def test_the_best_score_and_the_level(band: Band, best: float) -> None:
    clean = sentence("espeak-boris-49")
    assert pesq(clean, clean, 16000, band) == pytest.approx(best, abs=1e-3)
    noisy = changed(clean, "noise 0.01")[1]
    assert pesq(clean, 0.01 * noisy, 16000, band) == pytest.approx(pesq(clean, noisy, 16000, band), abs=1e-6)
    # Silence is no division by zero; what its score is, ``metrics.speech`` says.
    assert np.isfinite(pesq(clean, 0 * clean, 16000, band))


def test_bands_end_with_the_spectrum() -> None:
    # Bins of 31.25 Hz: to 4 kHz, and to 8 kHz.
    for rate, number, bins in ((8000, 42, 128), (16000, 49, 256)):
        bands = bands_of(rate)
        assert (len(bands.starts), bands.bins) == (number, bins)
        one_bin = np.eye(1, 256, 5)
        assert np.flatnonzero(bands.densities(one_bin)[0]).tolist() == [5]


def test_what_has_no_score() -> None:
    clean = sentence("espeak-boris-49")
    with pytest.raises(DataError, match=r"PESQ needs a quarter of a second, found 0\.125 s"):
        pesq(clean[:2000], clean[:2000], 16000, "wb")
    click = np.zeros(8000, np.float32)
    click[4000:4100] = clean[20000:20100]
    for reference in (click, 0 * click):
        with pytest.raises(DataError, match="PESQ finds no speech in the reference"):
            pesq(reference, clean[:8000], 16000, "wb")
