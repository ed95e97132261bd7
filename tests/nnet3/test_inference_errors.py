"""Utterances that cannot be used are reported, counted and left out; too many of them fail the job."""

import numpy as np
import pytest

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.errors import DataError, ModelError
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.ivectors_in_time import IvectorSource
from tests.references import NNET3, load, load_network

FEATS = np.random.default_rng(0).standard_normal((61, 20)).astype(np.float32)
IVECTOR = np.zeros(10, np.float32)


def _not_a_number() -> np.ndarray:
    feats = FEATS.copy()
    feats[17, 3] = np.nan
    return feats


def _run(
    name: str,
    utterances: dict[str, np.ndarray],
    ivectors: IvectorSource | None = None,
    period: int = 10,
    chunks: ChunkOptions | None = None,
) -> tuple[dict[str, np.ndarray], BadUtterances]:
    bad = BadUtterances(0.5)
    network = load_network(NNET3 / name / "final.raw")
    options = InferenceOptions(chunks or ChunkOptions(3), period)
    return dict(Inference(network, None, options, ivectors, bad).compute(utterances.items())), bad


@pytest.mark.parametrize(
    ("feats", "reason"),
    [
        (FEATS[:, :19], "its features have 19 columns, but the model needs 20"),
        (FEATS[:0], "it has no frames"),
        (np.zeros((0, 0), np.float32), "it has no frames"),
        (FEATS[0], "it has no frames"),
        (_not_a_number(), "its features are not finite (NaN or infinity) at frame 17"),
        (np.full_like(FEATS, np.inf), "not finite (NaN or infinity) at frame 0"),
        (np.full_like(FEATS, 3e38), "its log-likelihoods are not finite (extreme features?)"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_features(caplog: pytest.LogCaptureFixture, feats: np.ndarray, reason: str) -> None:
    got, bad = _run("tdnn_component", {"first": FEATS, "second": feats, "third": FEATS[:40]})
    assert list(got) == ["first", "third"]
    assert (bad.good, bad.bad) == (2, 1)
    assert "leaving out utterance second: " in caplog.text and reason in caplog.text
    # The others are what they are without it.
    alone, _ = _run("tdnn_component", {"first": FEATS, "third": FEATS[:40]})
    assert all(np.allclose(got[key], alone[key], atol=1e-6) for key in alone)


@pytest.mark.parametrize(
    ("name", "ivectors", "period", "reason"),
    [
        ("ivector_online", None, 10, "the model needs i-vectors of dimension 10, and there are none for it"),
        ("ivector_online", np.zeros((0, 10), np.float32), 10, "and there are none for it"),
        ("ivector_online", np.zeros((7, 9), np.float32), 10, "its i-vectors have 9 columns, the model needs 10"),
        ("ivector_utterance", np.zeros(11, np.float32), 10, "its i-vectors have 11 columns, the model needs 10"),
        ("ivector_online", np.zeros((1, 10), np.float32), 0, "online i-vectors need --online-ivector-period"),
        ("ivector_online", np.full((7, 10), np.nan, np.float32), 10, "its i-vectors are not finite"),
    ],
)
def test_bad_ivectors(
    caplog: pytest.LogCaptureFixture, name: str, ivectors: np.ndarray | None, period: int, reason: str
) -> None:
    good = {"first": IVECTOR, "second": IVECTOR, "bad": ivectors}
    got, bad = _run(name, dict.fromkeys(good, FEATS), good.get, period)
    assert list(got) == ["first", "second"] and bad.bad == 1
    assert "utterance bad" in caplog.text and reason in caplog.text


def test_online_ivectors_that_end_long_before_the_features(caplog: pytest.LogCaptureFixture) -> None:
    feats = np.zeros((300, 20), np.float32)
    rows = {"short": np.zeros((5, 10), np.float32), "enough": np.zeros((11, 10), np.float32)}
    got, _ = _run("ivector_online", dict.fromkeys(rows, feats), rows.get)
    assert list(got) == ["enough"]
    assert "no i-vector for frame 148: 5 rows, one every 10 frames (--online-ivector-period)" in caplog.text


def test_the_share_of_bad_utterances() -> None:
    bad = BadUtterances(0.1)
    with pytest.raises(DataError, match="there are no utterances in the input"):
        bad.check()
    bad.report("utt", DataError("reason"))
    with pytest.raises(DataError, match="none of the 1 utterances could be used; the last was utterance utt: reason"):
        bad.check()
    bad.good = 8
    with pytest.raises(DataError, match=r"1 of 9 utterances could not be used, more than the share of 0\.1"):
        bad.check()
    bad.good = 9
    bad.check()


@pytest.mark.parametrize("value", [0.0, -0.1, np.nan, np.inf])
def test_priors_without_a_logarithm(value: float) -> None:
    path = NNET3 / "priors_mdl" / "final.mdl"
    priors = load(path).priors.copy()
    priors[7] = value
    with pytest.raises(ModelError, match=rf"{path}: the prior of pdf 7 is {value:g}, which has no logarithm"):
        Inference(load_network(path), priors)


def test_ivectors_of_a_model_that_needs_none_are_not_asked_for() -> None:
    def fail(utterance: str) -> np.ndarray:
        raise AssertionError(utterance)

    got, bad = _run("tdnn_component", {"utt": FEATS}, fail)
    assert list(got) == ["utt"] and bad.bad == 0
