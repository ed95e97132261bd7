"""Scores of speech: SI-SDR by hand, PESQ and STOI as their packages give them, and what is not defined."""

import numpy as np
import pytest

from kaldi_quant.errors import DataError, MissingDependencyError, UsageError
from kaldi_quant.metrics import speech
from kaldi_quant.metrics.known import PESQ, SI_SDR, STOI
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.speech import MEASURES, MOST_SI_SDR, si_sdr, speech_score
from tests.conftest import needs

PACKAGES = {PESQ.name: "pesq", STOI.name: "pystoi"}


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


@pytest.mark.parametrize("name", PACKAGES)
def test_worse_speech_has_worse_scores(name: str) -> None:
    needs(PACKAGES[name])
    clean = voice()
    good, bad = (MEASURES[name](clean, clean + noise(clean, level), 16000) for level in (0.001, 0.1))
    assert good > bad + 0.1
    # Silence has the lowest value of the scale.
    assert MEASURES[name](clean, 0 * clean, 16000) == pytest.approx({"PESQ": 0.999, "STOI": 0.0}[name])


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
        (STOI, lambda x, y: pystoi.stoi(x, y, 16000)),
    ):
        score = speech_score(metric, pairs, 16000)
        assert score.per_unit == {"a": compute(clean, other), "b": compute(clean, clean)}
        assert score.metric == metric
    assert MEASURES["PESQ"](clean[::2], other[::2], 8000) == pesq.pesq(8000, clean[::2], other[::2], "nb")


@pytest.mark.parametrize("name", MEASURES)
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
        (STOI, short, "u: STOI needs 0.4 seconds of speech in the reference, found less"),
        (SI_SDR, np.ones(8), "u: SI-SDR needs a reference that is not constant"),
    ):
        with pytest.raises(DataError, match=message):
            speech_score(metric, [("u", reference, reference)], 16000)


def test_what_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = voice(0.1)
    with pytest.raises(UsageError, match="PESQ is defined at 16000 and 8000 Hz, not at 48000 Hz"):
        MEASURES["PESQ"](clean, clean, 48000)
    with pytest.raises(UsageError, match="the measure of speech 'MOS' is not one of PESQ, STOI, SI-SDR"):
        speech_score(Metric("MOS", "", "higher"), [("a", clean, clean)], 16000)
    with pytest.raises(DataError, match="expected at least one unit"):
        speech_score(SI_SDR, [], 16000)

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(speech.importlib, "import_module", absent)
    for name, package in PACKAGES.items():
        with pytest.raises(MissingDependencyError, match=f"the score {name} needs the package {package}: pip install"):
            MEASURES[name](clean, clean, 16000)
