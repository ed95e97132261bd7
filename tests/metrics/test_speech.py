"""Scores of speech: SI-SDR by hand, PESQ and STOI as their packages give them, and what is not defined."""

from importlib import metadata

import numpy as np
import pytest

from kaldi_quant.errors import DataError, MissingDependencyError, UsageError
from kaldi_quant.metrics import speech
from kaldi_quant.metrics.known import MSE, PESQ, PESQ_NB, SI_SDR, SNR, STOI
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.speech import MEASURES, MOST_SI_SDR, made_by, mse, si_sdr, snr, speech_score
from tests.conftest import needs

PACKAGES = {PESQ.name: "pesq", PESQ_NB.name: "pesq", STOI.name: "pystoi"}


def voice(seconds: float = 1.0, rate: int = 16000) -> np.ndarray:
    """Syllables of a vowel, (samples,) float32."""
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 30))
    return (0.1 * tones * np.maximum(np.sin(2 * np.pi * 3 * time), 0)).astype(np.float32)


def noise(like: np.ndarray, level: float) -> np.ndarray:
    return (level * np.random.default_rng(1).standard_normal(len(like))).astype(np.float32)


def test_si_sdr_by_hand() -> None:
    target, other = np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1])
    # A tenth of the amplitude is a hundredth of the power; neither level nor offset matters.
    assert si_sdr(target, target + 0.1 * other) == pytest.approx(20)
    assert si_sdr(7 * target + 3, -0.5 * (target + 0.1 * other) - 2) == pytest.approx(20)
    assert si_sdr(target, target) == MOST_SI_SDR
    assert si_sdr(target, other) == si_sdr(target, 0 * target) == -MOST_SI_SDR


def test_snr_and_mse_by_hand() -> None:
    target = np.array([1.0, -1, 1, -1], np.float32)
    assert snr(target, target + 0.1) == pytest.approx(20, abs=1e-5)
    # Unlike SI-SDR, the level counts: half of it is wrong by as much as it is.
    assert snr(target, target / 2) == pytest.approx(10 * np.log10(4))
    assert snr(target, target) == MOST_SI_SDR
    # Silence is off by all of the speech.
    assert snr(target, 0 * target) == 0
    assert mse(target, target / 2) == 0.25
    assert mse(0 * target, target) == 1


@pytest.mark.parametrize("name", PACKAGES)
def test_worse_speech_has_worse_scores(name: str) -> None:
    needs(PACKAGES[name])
    clean = voice()
    good, bad = (MEASURES[name](clean, clean + noise(clean, level), 16000) for level in (0.001, 0.1))
    assert good > bad + 0.1
    # Silence has the lowest value of the scale.
    assert MEASURES[name](clean, 0 * clean, 16000) == pytest.approx(0.0 if name == STOI.name else 0.999)


def test_scores_are_those_of_the_packages() -> None:
    needs("pesq")
    needs("pystoi")
    import pesq
    import pystoi

    clean = voice()
    other = clean + noise(clean, 0.05)
    pairs = [("a", clean, other), ("b", clean, clean)]
    for metric, compute in (
        (PESQ, lambda x, y: pesq.pesq(16000, x, y, "wb")),
        (PESQ_NB, lambda x, y: pesq.pesq(16000, x, y, "nb")),
        (STOI, lambda x, y: pystoi.stoi(x, y, 16000)),
    ):
        score = speech_score(metric, pairs, 16000)
        assert score.per_unit == {"a": compute(clean, other), "b": compute(clean, clean)}
        assert score.metric == metric
        assert score.made_by == made_by(metric) == ("" if metric == STOI else f"pesq {metadata.version('pesq')}")
    assert MEASURES["PESQ"](clean[::2], other[::2], 8000) == pesq.pesq(8000, clean[::2], other[::2], "nb")


@pytest.mark.parametrize("name", [name for name in MEASURES if name != MSE.name])
def test_what_is_not_defined_is_refused(name: str) -> None:
    if name in PACKAGES:
        needs(PACKAGES[name])
    clean = voice()
    for reference, estimate, message in (
        (0 * clean, clean, "the reference is silent"),
        (clean, clean[:-1], r"as long as each other; found \(16000,\) and \(15999,\)"),
        (clean[None], clean[None], "of one channel"),
        (clean, clean * np.nan, "not finite"),
    ):
        with pytest.raises(DataError, match=message):
            MEASURES[name](reference, estimate, 16000)


def test_too_little_speech_is_named() -> None:
    for package in PACKAGES.values():
        needs(package)
    short = voice(0.2)
    for metric, reference, message in (
        (PESQ, short, "u: PESQ needs a quarter of a second, found 0.200 s"),
        (PESQ_NB, short, "u: PESQ needs a quarter of a second, found 0.200 s"),
        (SNR, 0 * short, "u: the reference is silent"),
        (STOI, short, "u: STOI needs 0.4 seconds of speech in the reference, found less"),
        (SI_SDR, np.ones(8), "u: SI-SDR needs a reference that is not constant"),
    ):
        with pytest.raises(DataError, match=message):
            speech_score(metric, [("u", reference, reference)], 16000)


def test_what_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = voice(0.1)
    with pytest.raises(UsageError, match="PESQ is defined at 16000 and 8000 Hz, not at 48000 Hz"):
        MEASURES["PESQ"](clean, clean, 48000)
    with pytest.raises(UsageError, match="the measure of speech 'MOS' is not one of PESQ, PESQ-nb, STOI, SI-SDR"):
        speech_score(Metric("MOS", "", "higher"), [("a", clean, clean)], 16000)
    with pytest.raises(DataError, match="expected at least one unit"):
        speech_score(SI_SDR, [], 16000)


def absent(name: str) -> None:
    raise ImportError(name)


def test_stoi_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = voice(0.1)
    monkeypatch.setattr(speech.importlib, "import_module", absent)
    with pytest.raises(MissingDependencyError, match="the score STOI needs the package pystoi: pip install"):
        MEASURES[STOI.name](clean, clean, 16000)


@pytest.mark.parametrize("metric", [PESQ, PESQ_NB], ids=str)
def test_pesq_without_its_package(monkeypatch: pytest.MonkeyPatch, metric: Metric) -> None:
    needs("pesq")
    # Not periodic: the package would find another delay.
    clean = noise(voice(), 0.1) * voice()
    pairs = [("a", clean, clean + 0.01 * noise(clean[::-1], 0.1)[::-1])]
    by_package = speech_score(metric, pairs, 16000)
    monkeypatch.setattr(speech.importlib, "import_module", absent)
    found = speech_score(metric, pairs, 16000)
    assert found.made_by == "kaldi_quant" != by_package.made_by
    assert found.value == pytest.approx(by_package.value, abs=1e-3)
    assert found.value != by_package.value
    with pytest.raises(DataError, match=r"PESQ needs a quarter of a second, found 0\.200 s"):
        speech_score(metric, [("a", clean[:3200], clean[:3200])], 16000)
